"""What outgrowing one process costs and gives. Each part prints a few lines and takes less than three minutes.

    python scripts/bench/scale.py [--only processes] [--rounds 3]

processes: SimCLR on ResNet-18 with 16 images of 64 px per step, two processes of one thread each against one process of
two threads, by runs of the command in alternation. Images per second are medians over steps (without the first ones),
then over runs; the ratio is the median of the rounds' ratios.

memory: from load_data to the first batch of 10,000, 100,000 and (--rows) more images of 8 px in folders that are known:
seconds, seconds of processor time, and memory that belongs to no file. The store is made without decoding anything.

stores: --photos FOLDER. Crops of 224 px of its JPEG files, flipped at random: pixels, JPEG files, and torchvision's
ImageFolder in a DataLoader with two workers, by turns. What each keeps is in memory after a first pass.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

STEPS, SKIPPED = 8, 2
WAYS = {"one process, two threads": (1, 2), "two processes, one thread each": (2, 1)}


def pictures(root: Path, count: int, side: int) -> None:
    """Class folders of noise: what is measured is time."""
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = root / ("test" if i >= count - 32 else "train") / str(i % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def rate(images: Path, run: Path, processes: int, threads: int) -> float:
    """Images per second of one run."""
    words = ["data=imagefolder", f"data.root={images}", "data.size=64", "data/views=natural", "backbone=resnet18"]
    words += ["ssl.batch_size=16", f"budget.steps={STEPS}", "eval.images=2", "data.on_error=skip"]
    words += [f"engine.processes={processes}", f"engine.threads={threads}", "engine.log_every=1"]
    done = subprocess.run(
        [sys.executable, "-m", "gssl", "pretrain-ssl", *words, f"hydra.run.dir={run}"],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return statistics.median([line["images_per_second"] for line in lines if "loss" in line][SKIPPED:])


def processes(rounds: int) -> None:
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temp:
        pictures(Path(temp) / "images", 256, 64)
        for i in range(rounds):
            for name, way in WAYS.items():
                found[name].append(rate(Path(temp) / "images", Path(temp) / f"{i}-{way[0]}", *way))
    for name, rates in found.items():
        print(f"{name:32} {statistics.median(rates):7.1f} images/s  {' '.join(f'{r:.1f}' for r in sorted(rates))}")
    one, two = found.values()
    print(f"two processes against two threads: {statistics.median(b / a for a, b in zip(one, two, strict=True)):.2f}")


# ── memory ───────────────────────────────────────────────────────────────────────────────────────

TESTED, CLASSES, SIDE = 2000, 100, 8
CHILD = """
import sys, time
import torch
from gssl.config.composing import compose
from gssl.data import Batches, Draws, load_data
cfg = compose("pretrain-ssl", ["data=imagefolder", f"data.root={sys.argv[1]}", "data.size=8"]).data
def memory():
    lines = [line.split() for line in open("/proc/self/status")]
    return {words[0]: int(words[1]) / 1024 for words in lines if words[-1] == "kB"}
before, start, cpu = memory(), time.perf_counter(), time.process_time()
splits = load_data(cfg)
batch = Batches(splits.pretrain, 256, Draws(0), torch.device("cpu"))(0)
end, used, after = time.perf_counter() - start, time.process_time() - cpu, memory()
print(end, used, after["RssAnon:"] - before["RssAnon:"], after["VmHWM:"] - before["VmRSS:"])
"""


def known(root: Path, rows: int) -> None:
    """`rows` images in class folders, and the cache as it would be after they were read: nothing is decoded."""
    from gssl.data import cache, checksums
    from gssl.data.index import SIGNATURE, Index
    from gssl.data.store import Writer, image_hash
    from gssl.data.values import KINDS, Mapping

    rng = np.random.default_rng(0)
    for part, count in (("test", TESTED), ("train", rows - TESTED)):
        names = sorted(f"class{i % CLASSES:02}/{i:07}.ppm" for i in range(count))
        for i in range(CLASSES):
            (root / part / f"class{i:02}").mkdir(parents=True)
        pixels = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
        contents = np.empty(count, "S32")
        signatures = np.empty((count, SIGNATURE), np.int64)
        for i, name in enumerate(names):
            data = b"P6 8 8 255\n" + pixels[i].tobytes()
            path = root / part / name
            with open(path, "wb") as file:
                file.write(data)
            contents[i], signatures[i] = cache.content_hash(data), checksums.signature(os.stat(path))
        index = Index.empty()
        index = index.merged(names, signatures, contents, index.rows(names))
        folder = cache.cache_root() / "index"
        folder.mkdir(parents=True, exist_ok=True)
        index.write(cache.index_file(root / part))

        def build(writer: Writer, pixels: np.ndarray = pixels) -> None:
            writer.add(list(pixels), [image_hash(image) for image in pixels])
            writer.finish({"broken": []}, {"kept": np.arange(len(pixels))})

        cache.entry(cache.entry_key("files", SIDE, contents), lambda: 1, build)
        cache.remembered("ranges", Mapping.key(contents), lambda: np.array([*[0.0] * len(KINDS), 0.0, 1.0, 0.0]))


def start(root: Path) -> list[float]:
    """Seconds, seconds of the processor, MB that were added, MB at the most."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.split()]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Of y ~ x**e, by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def memory(wanted: argparse.Namespace) -> None:
    counts, found = [10_000, 100_000, *wanted.rows], []
    with tempfile.TemporaryDirectory() as temp:
        os.environ["GSSL_CACHE"] = f"{temp}/cache"
        for count in counts:
            known(Path(temp) / str(count), count)
            start(Path(temp) / str(count))  # copies are looked for once
            runs = [start(Path(temp) / str(count)) for _ in range(wanted.rounds)]
            found.append([statistics.median(column) for column in zip(*runs, strict=True)])
            seconds, used, more, most = found[-1]
            print(f"{count:>9,} rows: {seconds:6.2f} s ({used:.2f} s of the processor)", end=", ")
            print(f"{more:.0f} MB of no file are kept, {most:.0f} MB more at the most with mapped files", flush=True)
    fits = [exponent(counts, column) for column in zip(*found, strict=True)]
    names = ("seconds", "of the processor", "memory", "at the most")
    print(f"exponents of rows: {', '.join(f'{name} {fit:.2f}' for name, fit in zip(names, fits, strict=True))}")


# ── stores ───────────────────────────────────────────────────────────────────────────────────────

SIZE, BATCH = 224, 64


def ours(photos: Path, kind: str) -> Callable[[], Iterator[int]]:
    import torch

    from gssl.config.composing import compose
    from gssl.data import Batches, Draws, RandomViews, load_data

    words = ["data=imagefolder", f"data.root={photos}", f"data.size={SIZE}", f"data.store={kind}", "data/views=natural"]
    words += ["data.val_fraction=0.01", "data.test_fraction=0.01", "data.folds=null", "data.on_error=skip"]
    words += [f"data.views.{key}=0" for key in ("jitter", "grayscale", "blur", "solarize", "cutout", "rotate")]
    cfg = compose("pretrain-ssl", words).data
    images, device, draws = load_data(cfg).pretrain, torch.device("cpu"), Draws(0)
    assert images.store.kind == kind
    batches, views = Batches(images, BATCH, draws, device), RandomViews(cfg.views, SIZE, draws)

    def epoch() -> Iterator[int]:
        for step in range(len(images) // BATCH):
            batch = batches(step)
            yield len(views(batch["image"], step, 0, batch.get("extent")))

    return epoch


def theirs(photos: Path) -> Callable[[], Iterator[int]]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [
        v2.RandomResizedCrop(SIZE, (0.2, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ]
    loader = DataLoader(
        ImageFolder(str(photos), v2.Compose(steps)),
        BATCH,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
    )
    return lambda: (len(images) for images, _ in loader)


def stores(wanted: argparse.Namespace) -> None:
    if wanted.photos is None:
        print("give --photos FOLDER of class folders of JPEG files")
        return
    with tempfile.TemporaryDirectory() as temp:
        os.environ["GSSL_CACHE"] = f"{temp}/cache"
        ways = {"pixels": ours(wanted.photos, "pixels"), "jpeg": ours(wanted.photos, "jpeg")}
        ways["ImageFolder, DataLoader with two workers"] = theirs(wanted.photos)
        for epoch in ways.values():
            sum(epoch())  # workers start, files are in memory
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(wanted.rounds):
            for name, epoch in ways.items():
                began = time.perf_counter()
                count = sum(epoch())
                found[name].append(count / (time.perf_counter() - began))
    for name, rates in found.items():
        print(f"{name:40} {statistics.median(rates):7.1f} images/s  {' '.join(f'{r:.0f}' for r in sorted(rates))}")
    last = list(found.values())[-1]
    for name in ("pixels", "jpeg"):
        ratio = statistics.median(a / b for a, b in zip(found[name], last, strict=True))
        print(f"{name} against the DataLoader: {ratio:.2f}")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "processes": lambda wanted: processes(wanted.rounds),
    "memory": memory,
    "stores": stores,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000], help="memory: beyond 100,000")
    parser.add_argument("--photos", type=Path, help="stores: class folders of JPEG files")
    wanted = parser.parse_args()
    for name in wanted.only:
        print(f"── {name}")
        PARTS[name](wanted)


if __name__ == "__main__":
    main()
