"""What outgrowing one process costs and gives. Each part prints a few lines and takes less than three minutes.

    python scripts/bench/scale.py [--only processes] [--rounds 3] [--only memory --sources hf webdataset]

processes: SimCLR on ResNet-18 with 16 images of 64 px per step, two processes of one thread each against one process of
two threads, by runs of the command in alternation. Images per second are medians over steps (without the first ones),
then over runs; the ratio is the median of the rounds' ratios.

memory: from load_data to the first batch of 10,000, 100,000 and (--rows) more images of 8 px in folders that are known:
seconds, seconds of processor time, and memory that belongs to no file. The store is made without decoding anything.
--sources hf webdataset: the same images as Parquet files that are unpacked, or as tar archives of 10,000 samples; a
million of them take longer than three minutes on a busy machine (--rows 200000).

stores: --photos FOLDER. Crops of 224 px of its JPEG files, flipped at random: pixels, JPEG files, and torchvision's
ImageFolder in a DataLoader with two workers, by turns. What each keeps is in memory after a first pass.
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
import numpy as np, torch
from gssl.config.composing import compose
from gssl.data import Batches, Draws, load_data, near
near.search = lambda *given: np.zeros((0, 4), np.int64)  # noise has no copies, and they are looked for once
cfg = compose("pretrain-ssl", [f"data={sys.argv[2]}", f"data.root={sys.argv[1]}", "data.size=8"]).data
def memory():
    lines = [line.split() for line in open("/proc/self/status")]
    return {words[0]: int(words[1]) / 1024 for words in lines if words[-1] == "kB"}
before, start, cpu = memory(), time.perf_counter(), time.process_time()
splits = load_data(cfg)
batch = Batches(splits.pretrain, 256, Draws(0), torch.device("cpu"))(0)
end, used, after = time.perf_counter() - start, time.process_time() - cpu, memory()
print(end, used, after["RssAnon:"] - before["RssAnon:"], after["VmHWM:"] - before["VmRSS:"])
"""


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[bytes]]:
    """Pixels of noise, and the files that hold them."""
    pixels = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return pixels, [b"P6 8 8 255\n" + image.tobytes() for image in pixels]


def stored(pixels: np.ndarray, contents: np.ndarray) -> None:
    """The cache as it would be after the files of these contents were decoded."""
    from gssl.data import cache
    from gssl.data.store import Writer, image_hash
    from gssl.data.values import KINDS, Mapping

    def build(writer: Writer) -> None:
        writer.add(list(pixels), [image_hash(image) for image in pixels])
        writer.finish({"broken": []}, {"kept": np.arange(len(pixels))})

    cache.entry(cache.entry_key("files", SIDE, contents), lambda: 1, build)
    cache.remembered("ranges", Mapping.key(contents), lambda: np.array([*[0.0] * len(KINDS), 0.0, 1.0, 0.0]))


def folders(folder: Path, files: list[bytes]) -> np.ndarray:
    """Class folders whose files are known already; returns the contents in their order."""
    from gssl.data import cache, checksums
    from gssl.data.index import SIGNATURE, Index

    names = sorted(f"class{i % CLASSES:02}/{i:07}.ppm" for i in range(len(files)))
    for i in range(CLASSES):
        (folder / f"class{i:02}").mkdir(parents=True)
    contents = np.empty(len(files), "S32")
    signatures = np.empty((len(files), SIGNATURE), np.int64)
    for i, (name, data) in enumerate(zip(names, files, strict=True)):
        with open(folder / name, "wb") as file:
            file.write(data)
        contents[i], signatures[i] = cache.content_hash(data), checksums.signature(os.stat(folder / name))
    index = Index.empty()
    index = index.merged(names, signatures, contents, index.rows(names))
    (cache.cache_root() / "index").mkdir(parents=True, exist_ok=True)
    index.write(cache.index_file(folder))
    return contents


def hashed(files: list[bytes]) -> np.ndarray:
    from gssl.data import cache

    return np.fromiter((cache.content_hash(data) for data in files), "S32", len(files))


def parquet(folder: Path, files: list[bytes]) -> np.ndarray:
    """Files of 100,000 rows, as the Hub has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(0, len(files), 100_000):
        own = files[part : part + 100_000]
        columns = {"image": [{"bytes": data} for data in own], "label": [i % CLASSES for i in range(len(own))]}
        pq.write_table(pa.table(columns), f"{folder}-{part:07}.parquet")
    return hashed(files)


def archives(folder: Path, files: list[bytes]) -> np.ndarray:
    for part in range(0, len(files), 10_000):
        with tarfile.open(f"{folder}-{part:07}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for i, data in enumerate(files[part : part + 10_000]):
                for suffix, own in (("ppm", data), ("cls", b"%d" % (i % CLASSES))):
                    member = tarfile.TarInfo(f"{i:07}.{suffix}")
                    member.size = len(own)
                    archive.addfile(member, io.BytesIO(own))
    return hashed(files)


SOURCES = {"imagefolder": folders, "hf": parquet, "webdataset": archives}


def known(root: Path, rows: int, source: str) -> None:
    """`rows` images as a source has them, and the cache as it would be after they were read: nothing is decoded."""
    rng = np.random.default_rng(0)
    root.mkdir()
    for part, count in (("test", TESTED), ("train", rows - TESTED)):
        pixels, files = drawn(rng, count)
        stored(pixels, SOURCES[source](root / part, files))


def start(root: Path, source: str) -> list[float]:
    """Seconds, seconds of the processor, MB that were added, MB at the most."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(root), source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.split()]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Of y ~ x**e, by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def memory(wanted: argparse.Namespace) -> None:
    for source in wanted.sources:
        print(f"data={source}")
        starts(source, [10_000, 100_000, *wanted.rows], wanted.rounds)


def starts(source: str, counts: Sequence[int], rounds: int) -> None:
    found = []
    with tempfile.TemporaryDirectory() as temp:
        os.environ["GSSL_CACHE"] = f"{temp}/cache"
        for count in counts:
            began = time.perf_counter()
            known(Path(temp) / str(count), count, source)
            start(Path(temp) / str(count), source)  # what is found once
            made = time.perf_counter() - began
            runs = [start(Path(temp) / str(count), source) for _ in range(rounds)]
            found.append([statistics.median(column) for column in zip(*runs, strict=True)])
            seconds, used, more, most = found[-1]
            print(f"{count:>9,} rows: {seconds:6.2f} s ({used:.2f} s of the processor)", end=", ")
            print(f"{more:.0f} MB of no file are kept, {most:.0f} MB more at the most with mapped files", end="")
            print(f" (made and read first: {made:.0f} s)", flush=True)
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
    parser.add_argument("--sources", choices=SOURCES, nargs="+", default=["imagefolder"], help="memory: of the images")
    parser.add_argument("--photos", type=Path, help="stores: class folders of JPEG files")
    wanted = parser.parse_args()
    for name in wanted.only:
        print(f"── {name}")
        PARTS[name](wanted)


if __name__ == "__main__":
    main()
