"""A report over many run directories: seconds to collect, build and write, and the size of its page.

    python scripts/bench/report_size.py [--runs 200] [--out DIR]

The runs are made up, with 500 lines of metrics and sample pictures each. The bounds that the project promises for 200
of them: 20 s and 10 MB.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np

LINES = 500
TRAINED = ("simclr", "moco", "byol", "vicreg", "dcgan", "sngan")
ARMS = (*TRAINED, "scratch", "random", "pixels", "supervised")
PER_SEED = 2 * len(TRAINED) + 2 + 3  # a trained arm has two directories, `supervised` too


def module(name: str) -> ModuleType:
    """A module of tests/report, by path: tests are no packages."""
    path = Path(__file__).parents[2] / "tests" / "report" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def logged(path: Path, seed: int) -> None:
    """A metrics.jsonl as a real run leaves it: many keys, a validation score every tenth line, noise."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for i in range(LINES):
            t = i / LINES
            row = {"step": 10 * i, "images": 2560 * i, "seconds": 0.3 * i, "lr": 0.1 * (1 - t), "images_per_s": 2000.0}
            row |= {"loss_d": 1.2 - 0.3 * t + 0.1 * rng.normal(), "loss_g": 0.8 + t + 0.2 * rng.normal()}
            if i % 10 == 9:
                row |= {"val_knn": 0.8 - 0.4 * np.exp(-4 * t) + 0.01 * rng.normal(), "val_kid": 0.1 * np.exp(-t)}
            file.write(json.dumps(row) + "\n")


def photograph(seed: int) -> bytes:
    """A picture that does not compress: 256 × 256 of noise, about 65 kB."""
    from io import BytesIO

    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (256, 256), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make(root: Path, runs: int) -> list[Path]:
    """Whole seeds of all arms until there are `runs` directories or more; the paths that `compare` would report."""
    fake = module("fake_runs")
    paths = fake.make(root, seeds=-(-runs // PER_SEED), arms=ARMS)
    for seed, path in enumerate(sorted(root.iterdir())):
        if (path / "metrics.jsonl").is_file():
            logged(path / "metrics.jsonl", seed)
        for picture in path.glob("samples/*.png"):
            picture.write_bytes(photograph(seed))
    return paths


def clocks() -> tuple[float, float]:
    """Wall and processor seconds: on a busy machine only the latter say what the report costs."""
    return time.perf_counter(), time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        paths = make(out / "runs", given.runs)
        from gssl.report.collect import read_runs
        from gssl.report.document import build
        from gssl.report.page import write

        fake, at = module("fake_runs"), [clocks()]
        runs = read_runs(paths)
        at.append(clocks())
        report = build(runs, fake.plan(-(-given.runs // PER_SEED), ARMS))
        at.append(clocks())
        page = write(report, out)
        at.append(clocks())
        wall, cpu = np.diff(np.array(at), axis=0).T
        parts = ", ".join(
            f"{name} {took:.1f} s" for name, took in zip(("collect", "build", "write"), wall, strict=True)
        )
        size = page.stat().st_size / 1e6
        print(f"{len(runs)} run directories: {parts}")
        print(f"together {wall.sum():.1f} s ({cpu.sum():.1f} s of one core; bound 20 s), {size:.2f} MB (bound 10 MB)")
        sys.exit(bool(cpu.sum() > 20 or size > 10))


if __name__ == "__main__":
    main()
