"""What a day's work waits for, before and after: an earlier revision against this tree, in turn, by processor time.

    python scripts/bench/daily.py [--before REVISION] [--rounds 3] [--only crops linear …]

The earlier revision's files are unpacked from git into a temporary folder. Every measurement is a process of its own
with one thread; the two trees take turns. Printed: medians of processor time, and their ratio. The clock would measure
who else is at work on the machine.

crops: evaluation crops of 64 images of different sizes (short side twice the size), per image, beside Pillow's
views: one SimCLR view of the same images
linear: a linear probe with folds, 10 labels per class of mnist5k, features of a random convnet; and 300 x 1,280
finetune: fine-tuning on 10 labels per class of mnist5k, a tenth of the steps
step: a SimCLR step of the small convnet, 256 images of 32 px, beside the bare network's
start: a run of one step less torch's import
knn: gssl transfer weights=random probe.use=[knn] diagnose.pictures=false
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Found = dict[str, float | str]  # seconds of processor by name; texts must be the same before and after
CPU = "engine.device=cpu"


def seconds(work: Callable[[], Any], times: int = 5) -> float:
    """Median processor time of a call."""
    work()
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def canvas(size: int, count: int = 64) -> tuple[Any, Any, list[Any]]:
    """A batch of smooth pictures, 3:2 on average, short sides 2 · size: canvas, extents, and the pictures alone."""
    import numpy as np
    import torch
    from PIL import Image

    rng = np.random.default_rng(0)
    long = [int(2 * size * ratio) for ratio in rng.uniform(1.0, 2.0, count)]
    shapes = [(2 * size, side) if rng.random() < 0.7 else (side, 2 * size) for side in long]
    noise = [rng.integers(0, 256, (h // 8, w // 8, 3), dtype=np.uint8) for h, w in shapes]
    alone = [np.array(Image.fromarray(x).resize((w, h))) for x, (h, w) in zip(noise, shapes, strict=True)]
    height, width = np.max(shapes, axis=0)
    whole = np.zeros((count, height, width, 3), dtype=np.uint8)
    for row, picture in zip(whole, alone, strict=True):
        row[: picture.shape[0], : picture.shape[1]] = picture
    return torch.from_numpy(whole).permute(0, 3, 1, 2), torch.tensor(shapes), alone


def crops() -> Found:
    import numpy as np
    from PIL import Image

    from gssl.data import centre

    found: Found = {}
    for size in (64, 128, 224):
        images, extent, alone = canvas(size)

        def pillow(size: int = size, alone: list[Any] = alone) -> None:
            for picture in alone:
                h, w = (size * side // min(picture.shape[:2]) for side in picture.shape[:2])
                left, top = (w - size) // 2, (h - size) // 2
                small = Image.fromarray(picture).resize((w, h), Image.Resampling.BILINEAR)
                np.asarray(small.crop((left, top, left + size, top + size)))

        found[f"{size} px"] = seconds(lambda: centre(images, size, extent)) / len(alone)  # noqa: B023
        found[f"{size} px, Pillow"] = seconds(pillow) / len(alone)
    return found


def views() -> Found:
    from gssl.config.composing import compose
    from gssl.data import Draws, RandomViews

    policy = compose("pretrain-ssl", ["data/views=natural"]).data.views
    found: Found = {}
    for size in (64, 128):
        images, extent, alone = canvas(size)
        made = RandomViews(policy, size, Draws(0))
        found[f"{size} px"] = seconds(lambda: made(images, 0, 0, extent)) / len(alone)  # noqa: B023
    return found


def prober(folder: Path, *words: str) -> Any:
    import torch

    from gssl.config.composing import compose
    from gssl.data import load_data
    from gssl.experiment.probing import Prober, find_source

    cfg = compose("transfer", ["weights=random", "engine.threads=1", CPU, "engine.progress=false", *words])
    splits = load_data(cfg.data)
    return Prober(cfg, find_source("random"), splits.labelled, splits.classes, torch.device("cpu"))


def linear(folder: Path) -> Found:
    import numpy as np

    from gssl.probe.linear import Linear

    made = prober(folder, "labels_per_class=[10]", "fractions=[]")
    index = made.labels(made.budgets("linear")[0], 0)
    x, y = made.features(made.images)[index], made.images.labels[index]
    probe = Linear(made.cfg.probe.linear)
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 10
    wide = np.maximum(rng.standard_normal((300, 1280)) + rng.standard_normal((10, 1280))[labels] / 5, 0)
    wide = wide.astype(np.float32)
    fits = [probe.fit(x, y, 10, 0), probe.fit(wide, labels, 10, 0)]
    chosen = [[fit.chosen["l2"], fit.val_accuracy] for fit in fits]
    guesses = [int(fit.predict(part).sum()) for fit, part in zip(fits, (x, wide), strict=True)]
    return {
        "100 x 128": seconds(lambda: probe.fit(x, y, 10, 0)),
        "300 x 1,280": seconds(lambda: probe.fit(wide, labels, 10, 0), 3),
        "choices": json.dumps([chosen, guesses]),
    }


def finetune(folder: Path) -> Found:
    words = ["probe.use=[finetune]", "labels_per_class=[10]", "fractions=[]", "probe.finetune.steps=20"]
    made = prober(folder, *words)
    start = time.process_time()
    (fitted,) = made.fit()
    taken = time.process_time() - start
    right = (fitted.model.predict(made.images) == made.images.labels).sum()
    return {"100 labels": taken, "choices": f"{fitted.model.chosen} {right}"}


def step(folder: Path) -> Found:
    sys.path.insert(0, str(Path(__file__).parent))
    import overhead

    from gssl.config.composing import compose

    overhead.pictures(folder / "images")
    clock, time.perf_counter = time.perf_counter, time.process_time  # which `overhead` reads
    words = ["data=imagefolder", f"data.root={folder}/images", "data.on_error=skip", "data.val_fraction=0.1"]
    words += ["data/views=natural", "ssl.batch_size=256", "budget.steps=12", "eval.images=2", "engine.threads=1", CPU]
    cfg = compose("pretrain-ssl", [*words, "engine.progress=false"])
    bare = overhead.Bare(cfg)
    ours, theirs = [], []
    for i in range(3):
        ours += overhead.loop(cfg, folder / str(i))
        theirs += bare.steps(6)[1:]
    time.perf_counter = clock
    return {"loop": statistics.median(ours), "bare network": statistics.median(theirs)}


def command(folder: Path, *words: str) -> None:
    from gssl.cli import run

    sys.argv = ["gssl", *words, "engine.threads=1", CPU, "engine.progress=false", f"hydra.run.dir={folder / 'run'}"]
    try:
        run()
    except SystemExit as end:
        if end.code:
            raise


def start(folder: Path) -> Found:
    begin = time.process_time()
    import torch

    torch.set_num_threads(1)
    after = time.process_time()
    words = ["data.limit=400", "backbone.width=8", "ssl.batch_size=16", "budget.steps=1", "eval.images=50"]
    command(folder, "pretrain-ssl", *words)
    return {"after torch's import": time.process_time() - after, "import torch": after - begin}


def knn(folder: Path) -> Found:
    import torch

    torch.set_num_threads(1)
    begin = time.process_time()
    command(folder, "transfer", "weights=random", "probe.use=[knn]", "diagnose.pictures=false", "draws=1")
    return {"whole command": time.process_time() - begin}


MEASURES: dict[str, Callable[..., Found]] = {
    "crops": lambda folder: crops(), "views": lambda folder: views(), "linear": linear, "finetune": finetune,
    "step": step, "start": start, "knn": knn,
}  # fmt: skip


def measured(name: str, tree: Path, folder: Path) -> Found:
    """One measurement in a process of its own, by the files of `tree`."""
    env = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
        "GSSL_CACHE": str(folder / "cache" / tree.name),
    }
    with tempfile.TemporaryDirectory(dir=folder) as own:
        words = [sys.executable, str(Path(__file__).resolve()), "--measure", name, "--folder", own]
        done = subprocess.run(words, env=env, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} with {tree}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def unpacked(revision: str, folder: Path) -> Path:
    """The files of a revision, in a new folder."""
    data = subprocess.run(["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder / revision, filter="data")
    return folder / revision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="eb2fc80")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(MEASURES[args.measure](args.folder)))
        return
    print(f"milliseconds of processor, medians of {args.rounds} processes each in turn, one thread; load "
          f"{os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"{'what':32} {args.before:>10} {'now':>10} {'times':>7}  ratios by round")
    with tempfile.TemporaryDirectory() as temp:
        trees = {"before": unpacked(args.before, Path(temp)), "now": ROOT}
        for name in args.only:
            found: dict[str, list[Found]] = {"before": [], "now": []}
            for i in range(args.rounds):
                for side in sorted(trees, reverse=bool(i % 2)):
                    found[side].append(measured(name, trees[side], Path(temp)))
            for key, first in found["now"][0].items():
                if isinstance(first, str):
                    same = {str(one[key]) for side in found.values() for one in side}
                    print(f"{name + ' ' + key:32} {'the same' if len(same) == 1 else 'DIFFER: ' + ' / '.join(same)}")
                    continue
                a, b = ([float(one[key]) for one in found[side]] for side in ("before", "now"))
                each = " ".join(f"{x / y:.2f}" for x, y in zip(a, b, strict=True))
                x, y = 1e3 * statistics.median(a), 1e3 * statistics.median(b)
                print(f"{name + ' ' + key:32} {x:10.2f} {y:10.2f} {x / y:7.2f}  {each}", flush=True)


if __name__ == "__main__":
    main()
