"""Does gssl say of a ready-made network what timm and scikit-learn say, on the same images?

    python scripts/check_ready_made.py FOLDER [--sizes 224 64 128] [--out check.md]

FOLDER has train/CLASS/* and test/CLASS/*. timm builds tf_efficientnet_lite0 with the weights of the Python package,
reads each file by its own transform (at 224 px: resize to 256, bicubic, centre crop) and gives the features. At other
sizes the whole image is resized by Pillow (bilinear, as gssl's evaluation crop). scikit-learn classifies: the 20
nearest neighbours by cosine with votes exp(s / .07), and logistic regression on standardised features with the λ that
gssl chose (C = 1 / (n λ)), with the labels that gssl drew. `gssl transfer` is run as a user would.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from timm.data import create_transform
from torchvision.transforms import v2

from gssl.data import label_subset
from gssl.nets.ready_made import tensors

NAME, TIMM, OWN = "efficientnet_lite0", "tf_efficientnet_lite0", 224
SEED, K, TEMPERATURE = 0, 20, 0.07


def transform(size: int) -> Any:
    """The file's image to the network's input."""
    if size == OWN:
        cfg = timm.get_pretrained_cfg(TIMM)
        assert cfg is not None
        rest: Any = {"crop_pct": cfg.crop_pct, "interpolation": cfg.interpolation, "mean": cfg.mean, "std": cfg.std}
        return create_transform((3, OWN, OWN), **rest)
    resize = [v2.Resize(size, v2.InterpolationMode.BILINEAR), v2.CenterCrop(size), v2.PILToTensor()]
    return v2.Compose([*resize, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])


@torch.no_grad()
def features(files: list[Path], size: int) -> np.ndarray:
    """(n, 1280) by timm alone."""
    network = timm.create_model(TIMM, pretrained=False, num_classes=0).eval()
    own = network.state_dict()
    network.load_state_dict({k: v for k, v in tensors(NAME).items() if k in own}, strict=False)
    read, found = transform(size), []
    for start in range(0, len(files), 32):
        batch = [read(Image.open(file).convert("RGB")) for file in files[start : start + 32]]
        found.append(network(torch.stack(batch)).numpy())
    return np.concatenate(found)


def knn(x: np.ndarray, y: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    near = NearestNeighbors(n_neighbors=min(K, len(x)), metric="cosine").fit(x)
    distance, index = near.kneighbors(test)
    votes = np.zeros((len(test), classes))
    np.add.at(votes, (np.arange(len(test))[:, None], y[index]), np.exp((1 - distance) / TEMPERATURE))
    return votes.argmax(1)


def linear(x: np.ndarray, y: np.ndarray, test: np.ndarray, l2: float) -> np.ndarray:
    scale = StandardScaler().fit(x.astype(np.float64))
    model = LogisticRegression(C=1 / (len(x) * l2), max_iter=5000, tol=1e-8)
    return model.fit(scale.transform(x.astype(np.float64)), y).predict(scale.transform(test.astype(np.float64)))


def by_gssl(folder: Path, size: int, run: Path) -> dict:
    """result.json of a transfer run."""
    words = [f"weights={NAME}", "data=imagefolder", f"data.root={folder.resolve()}", f"seed={SEED}", "draws=1"]
    words += ["data.size=64" if size == OWN else f"data.size={size}", "probe.use=[knn,linear]", "fractions=[1.0]"]
    words += [f"probe.sizes=[{'own' if size == OWN else 'data'}]", "labels_per_class=[10]", "engine.progress=false"]
    words += ["diagnose.pictures=false", f"hydra.run.dir={run}"]
    subprocess.run([sys.executable, "-m", "gssl", "transfer", *words], check=True, stdout=subprocess.DEVNULL)
    return json.loads((run / "result.json").read_text())


def listed(folder: Path, classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """Files in gssl's order, and their classes."""
    files = sorted(
        (file for name in classes for file in (folder / name).iterdir()), key=lambda f: f"{f.parent.name}/{f.name}"
    )
    return files, np.array([classes.index(file.parent.name) for file in files])


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[OWN, 64, 128])
    arguments.add_argument("--out", type=Path, default=None)
    given = arguments.parse_args()
    classes = sorted(path.name for path in (given.folder / "train").iterdir())
    files, labels = listed(given.folder / "train", classes)
    held, truth = listed(given.folder / "test", classes)
    rows, worst = [], 0.0
    for size in given.sizes:
        start = time.perf_counter()
        x, test = features(files, size), features(held, size)
        seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as place:
            result = by_gssl(given.folder, size, Path(place) / "run")
        for score in result["scores"]:
            order = training_order(files, labels, score)
            some, y = x[order], labels[order]
            if score["probe"] == "knn":
                guess = knn(some, y, test, len(classes))
            else:
                guess = linear(some, y, test, score["chosen"]["l2"])
            theirs = 100 * float((guess == truth).mean())
            ours = 100 * score["accuracy"]
            worst = max(worst, abs(ours - theirs))
            label = "all" if score["labels_per_class"] is None else f"{score['labels_per_class']} per class"
            rows.append(f"| {size} | {score['probe']} | {label} | {ours:.1f} | {theirs:.1f} | {ours - theirs:+.1f} |")
        print(f"{size} px: timm took {seconds:.0f} s, gssl {result['spent']['seconds']:.0f} s", file=sys.stderr)
    table = (
        "| px | probe | labels | gssl | timm + scikit-learn | difference |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
    )
    print(table)
    print(f"\n{len(files)} images to train on, {len(held)} to test on; largest difference {worst:.1f} points")
    if given.out:
        given.out.write_text(table + "\n")
    return 0 if worst <= 0.5 else 1


def training_order(files: list[Path], labels: np.ndarray, score: dict) -> np.ndarray:
    """Positions of the images that gssl drew. Its labelled images are its training part, then its validation part."""
    from gssl.config.composing import compose
    from gssl.data import load_data

    root = files[0].parents[2]
    words = [
        "weights=random",
        "data=imagefolder",
        f"data.root={root.resolve()}",
        "data.size=64",
        "engine.progress=false",
    ]
    images = load_data(compose("transfer", words).data).labelled
    assert images.names is not None
    at = {str(file.resolve()): i for i, file in enumerate(files)}
    order = np.array([at[str(Path(str(name)).resolve())] for name in images.names])
    assert np.array_equal(labels[order], images.labels)
    return order[label_subset(images.labels, score["labels_per_class"], score["fraction"], SEED, score["draw"])]


if __name__ == "__main__":
    raise SystemExit(main())
