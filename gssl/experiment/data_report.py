"""What is in a data set, before anything is trained: counts, files, pixels, copies, and what features say of images.

`look` gathers it as one JSON document (`gssl.data/1`) and the pictures that a page shows. Test images are looked at
like all others: what is wrong with them is to be mended before networks are compared, and nothing is trained here.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import gssl
from gssl import schemas
from gssl.data import cache, duplicates, findings, survey, targets
from gssl.data.draws import digest
from gssl.data.duplicates import Group
from gssl.data.images import Images
from gssl.data.opening import is_file
from gssl.data.pool import Pool
from gssl.data.sources import SOURCES, DataSource
from gssl.data.values import stored
from gssl.engine.progress import say
from gssl.experiment import data_advice, data_features
from gssl.metrics import neighbours
from gssl.metrics.tsne import tsne
from gssl.names import load, unknown

SHOWN = 24  # images of a kind that the page shows
GROUPS = 12  # groups of copies that it shows, of each kind
COPIES = 4  # images of one group
EXAMPLES, CLASSES = 8, 24  # images of a class, and classes that are shown
MAPPED = 1000  # images on the map
CLUSTERS, LEAST = 10, 20  # at most so many clusters of on average at least so many images
TABLES = (".csv", ".json", ".md", ".parquet", ".tar", ".gz", ".tgz")  # files beside images, or that hold them
FEW = 5  # images: fewer have no neighbours to speak of
SIDE = 112  # pixels: the longer side of a picture on the page


@dataclass
class Found:
    """The document, the pictures that it mentions by index, and what is to be done about single files."""

    text: dict[str, Any]
    pictures: dict[int, str]  # index → data URI
    issues: list[dict[str, Any]]  # rows of issues.csv


def look(cfg: schemas.Data, called: str, most: int, device: torch.device, progress: bool = False) -> Found:
    """The report of the data that `cfg` names; broken files are listed, not refused.

    called: how the data set is named in it; most: images whose features are computed. Raises UsageError.
    """
    source = _source(cfg, progress)
    brought = {"train": source.train, "val": source.val, "test": source.test, "pretrain": source.pretrain}
    pool = Pool({name: part for name, part in _once(brought).items() if part is not None and len(part)})
    paths = pool.paths()
    on_disk = paths is not None and all(map(is_file, paths[:1]))
    heads = survey.heads(paths, cfg.workers) if paths is not None and on_disk else []
    known = [head for head in heads if head is not None]
    whole = len(known) == len(pool)
    sides = np.array([(head.height, head.width) for head in known]) if whole else pool.shapes
    values = survey.values(pool, cfg.workers)
    groups = duplicates.find_groups(pool, cfg.workers, progress)
    text: dict[str, Any] = {
        "schema": "gssl.data/1",
        "gssl": gssl.__version__,
        "data": {"called": called, "name": cfg.name, "root": cfg.root},
        "images": len(pool),
        **_counts(pool),
        "files": survey.files(known) if known else None,
        "shapes": survey.shapes(sides),
        "values": survey.pixels(values),
        "range": next((stored(part.range) for part in pool.parts if part.range is not None), None),
        "skipped": source.skipped,
        "warnings": source.warnings,
        "told": source.told,
        "unused": _unused(cfg, pool, paths, source.skipped),
        "remarkable": {
            kind: {"text": why, "n": len(which), "images": _entries(pool, which[:SHOWN])}
            for kind, (why, which) in survey.remarkable(sides, values).items()
        },
        "duplicates": _duplicates(pool, groups),
        "numbers": {
            "shorter": sides.min(axis=1).tolist(),
            "aspect": (sides[:, 1] / sides[:, 0]).round(3).tolist(),
            "brightness": values.grey.round(1).tolist(),
            "contrast": values.contrast.round(1).tolist(),
            "kilobytes": [round(head.bytes / 1000, 2) for head in known],
        },
    }
    text |= _by_features(pool, groups, most, device, progress)
    text["examples"] = _examples(pool)
    text["problems"] = data_advice.problems(text)
    text["suggestions"] = data_advice.suggestions(text)
    return Found(text, _pictures(pool, text), _issues(pool, text, groups))


def _source(cfg: schemas.Data, progress: bool) -> DataSource:
    if cfg.name not in SOURCES:
        raise unknown("data.name: no source", cfg.name, SOURCES)
    found: DataSource = load(SOURCES[cfg.name].where)(cfg, progress)
    return found


def _once(parts: dict[str, Images | None]) -> dict[str, Images | None]:
    """Without those images for pretraining that are files of another part too: a folder around all may be named."""
    own = parts["pretrain"]
    if own is None or own.names is None:
        return parts
    known = [
        part.names for name, part in parts.items() if part is not None and part.names is not None and part is not own
    ]
    listed = np.concatenate(known) if known else np.zeros(0, dtype=str)
    return parts | {"pretrain": own.subset(np.flatnonzero(~np.isin(own.names, listed)))}


# ── counts and files ─────────────────────────────────────────────────────────────────────────────


def _counts(pool: Pool) -> dict[str, Any]:
    """Images of each part, and of each class in it; of masks the pixels."""
    parts = dict(zip(pool.names, pool.parts, strict=True))
    found: dict[str, Any] = {"parts": {name: len(part) for name, part in parts.items()}, "classes": pool.classes}
    labelled = {name: part for name, part in parts.items() if part.classes}
    found["column"] = pool.target
    if pool.column and (marks := targets.TARGETS[pool.column].marks):
        found[f"class_{marks[1]}"] = {name: findings.class_marks(part) for name, part in labelled.items()}
    elif pool.classes:
        found["class_counts"] = {name: findings.class_counts(part) for name, part in labelled.items()}
    found["labelled"] = len(pool) if pool.column else int((pool.labels >= 0).sum())
    groups = {name: len(np.unique(part.groups)) for name, part in parts.items() if part.groups is not None}
    return found | ({"groups": groups} if groups else {})


def _unused(cfg: schemas.Data, pool: Pool, paths: list[str] | None, skipped: list[str]) -> dict[str, Any]:
    """Files below data.root that no part uses, by suffix, with whether they are images that could be read."""
    if cfg.root is None or paths is None or pool.column or not Path(cfg.root).is_dir():
        return {}
    used = [*paths, *(text.split(" (", 1)[0] for text in skipped)]
    found = survey.unused(Path(cfg.root), used)
    films = {path for path in paths if Path(path).is_dir()}  # of which a path names the folder
    kept = {
        suffix: left
        for suffix, names in found.items()
        if suffix not in TABLES and (left := [name for name in names if str(Path(name).parent) not in films])
    }
    return {
        suffix: {"n": len(names), "readable": survey.readable(suffix), "examples": names[:3]}
        for suffix, names in sorted(kept.items(), key=lambda item: -len(item[1]))
    }


def entry(pool: Pool, index: int, **more: Any) -> dict[str, Any]:
    """An image as the document names it."""
    own = {"index": int(index), "file": pool.name(index), "part": pool.names[int(pool.part[index])]}
    return own | {"label": pool.label(index)} | more


def _entries(pool: Pool, indices: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    return [entry(pool, int(i)) for i in indices]


def _duplicates(pool: Pool, groups: list[Group]) -> dict[str, Any]:
    exact = [group for group in groups if group.exact]
    torn = [group for group in groups if group.torn(pool)]
    conflicting = [group for group in groups if group.conflicting(pool)]
    test = [i for group in torn for i in group.members if pool.names[int(pool.part[i])] == "test"]
    # those that matter first: they are what the page shows
    order = sorted(groups, key=lambda g: (not g.torn(pool), not g.conflicting(pool)))
    return {
        "groups": len(groups),
        "exact": len(exact),
        "near": len(groups) - len(exact),
        "images": sum(len(group.members) for group in groups),
        "superfluous": sum(len(group.members) - 1 for group in groups),
        "torn": len(torn),
        "test_images": len(test),
        "conflicting": len(conflicting),
        "shown": [_group(pool, group) for group in order[: 2 * GROUPS]],
    }


def _group(pool: Pool, group: Group) -> dict[str, Any]:
    return {
        "exact": group.exact,
        "mirrored": group.mirrored,
        "torn": group.torn(pool),
        "conflicting": group.conflicting(pool),
        "n": len(group.members),
        "images": _entries(pool, _spread(pool, group)),
    }


def _spread(pool: Pool, group: Group) -> list[int]:
    """Some images of a group, with one of each part and label first."""
    first: dict[tuple[int, int], int] = {}
    for i in group.members:
        first.setdefault((int(pool.part[i]), int(pool.targets[i])), i)
    return [*first.values(), *(i for i in group.members if i not in first.values())][:COPIES]


# ── features ─────────────────────────────────────────────────────────────────────────────────────


def _by_features(pool: Pool, groups: list[Group], most: int, device: torch.device, progress: bool) -> dict[str, Any]:
    """Outliers, label suspects, clusters and the map, of at most `most` images."""
    nothing: dict[str, Any] = {"features": None, "outliers": None, "suspects": None, "clusters": [], "map": []}
    chosen = data_features.some(pool, most)
    if len(chosen) < FEW:
        return nothing
    by = data_features.network()
    if by.note:
        say(f"note: {by.note}")
    x = data_features.features(pool, chosen, by, device, progress)
    codes = np.arange(len(pool))
    for group in groups:
        codes[group.members] = group.members[0]
    near = neighbours.nearest(x, codes[chosen])
    far = neighbours.distances(near)
    about = {"network": by.name, "about": by.about, "note": by.note, "side": by.side, "n": len(chosen)}
    if not np.isfinite(far).any():  # all are copies of each other
        return nothing | {"features": about}
    text = nothing | {"features": about, "outliers": _outliers(pool, chosen, far)}
    marks = {int(chosen[i]): "outlier" for i in np.flatnonzero(far > neighbours.fence(far))}
    if pool.classes and not pool.column:
        suspects = neighbours.suspects(near, pool.labels[chosen], len(pool.classes))
        text["suspects"] = _suspects(pool, chosen, suspects)
        marks |= {int(chosen[i]): "suspect" for i in suspects.index[:SHOWN]}
    text["clusters"] = _clusters(pool, chosen, x)
    text["names"] = _names(pool, chosen, near)
    some = np.unique(np.linspace(0, len(chosen) - 1, min(MAPPED, len(chosen))).astype(int))
    key = digest("data-map", data_features.FORMAT, x[some].tobytes()).hex()
    places = cache.remembered("maps", key, lambda: tsne(x[some]))
    text["map"] = [
        entry(pool, int(chosen[i]), x=round(float(a), 3), y=round(float(b), 3), mark=marks.get(int(chosen[i])))
        for i, (a, b) in zip(some, places, strict=True)
    ]
    return text


def _outliers(pool: Pool, chosen: np.ndarray, far: np.ndarray) -> dict[str, Any]:
    order = np.argsort(-np.nan_to_num(far, nan=-1), kind="stable")[:SHOWN]
    limit = neighbours.fence(far)
    return {
        "n": int((far > limit).sum()),
        "fence": limit,
        "distance": survey.summary(far[np.isfinite(far)]) if np.isfinite(far).any() else None,
        "images": [entry(pool, int(chosen[i]), distance=float(far[i])) for i in order],
    }


def _suspects(pool: Pool, chosen: np.ndarray, found: neighbours.Suspects) -> dict[str, Any]:
    rows = zip(found.index, found.likely, found.given, found.vote, strict=True)
    images = [entry(pool, int(chosen[i]), likely=pool.classes[c], given=float(g), vote=float(v)) for i, c, g, v in rows]
    pairs: dict[tuple[str, str], int] = {}
    for row in images:
        pairs[row["label"], row["likely"]] = pairs.get((row["label"], row["likely"]), 0) + 1
    often = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:5]
    return {
        "n": len(images),
        "agreement": found.agreement,
        "chance": max(np.bincount(pool.labels[pool.labels >= 0]).tolist()) / max(1, int((pool.labels >= 0).sum())),
        "often": [{"label": a, "likely": b, "n": n} for (a, b), n in often],
        "images": images,
    }


def _clusters(pool: Pool, chosen: np.ndarray, x: np.ndarray) -> list[dict[str, Any]]:
    count = min(CLUSTERS, len(chosen) // LEAST)
    if count < 2:
        return []
    which, far = neighbours.clusters(x, count)
    found = []
    for number in range(which.max() + 1):
        mine = np.flatnonzero(which == number)
        order = mine[np.argsort(far[mine], kind="stable")]
        labels = pool.labels[chosen[mine]]
        own = np.bincount(labels[labels >= 0], minlength=len(pool.classes)) if pool.classes else np.zeros(0)
        top = [i for i in np.argsort(-own, kind="stable")[:3] if own[i]]
        classes = [{"label": pool.classes[i], "n": int(own[i])} for i in top]
        found.append({"n": len(mine), "classes": classes, "images": _entries(pool, chosen[order[:EXAMPLES]])})
    return found


def _names(pool: Pool, chosen: np.ndarray, near: neighbours.Neighbours) -> dict[str, Any] | None:
    """What numbered names begin with, and whether images whose names begin alike are alike."""
    if pool.paths() is None or any(part.groups is not None for part in pool.parts):
        return None
    texts = [survey.group_of(pool.name(int(i))) for i in chosen]
    names = sorted({text for text in texts if text})
    if not 2 <= len(names) <= len(chosen) / survey.LEAST_GROUP or sum(t is not None for t in texts) < len(texts) / 2:
        return None
    number = {name: i for i, name in enumerate(names)}
    codes = np.array([number.get(text or "", -1) for text in texts])
    excess = neighbours.prefix_excess(near, codes, pool.labels[chosen])
    return {"groups": len(names), "examples": names[:3], "excess": excess}


# ── pictures and rows ────────────────────────────────────────────────────────────────────────────


def _examples(pool: Pool) -> list[dict[str, Any]]:
    """Some images of every class (of every part without labels), spread over what there is."""
    found = []
    kinds: list[tuple[str, np.ndarray]] = []
    if pool.classes and not pool.column:
        named = sorted(range(len(pool.classes)), key=lambda c: -int((pool.labels == c).sum()))
        kinds = [(pool.classes[c], np.flatnonzero(pool.labels == c)) for c in named[:CLASSES]]
    loose = np.flatnonzero(pool.labels < 0)
    for number, name in enumerate(pool.names):
        kinds.append((f"{name}{'' if pool.column else ', without a label'}", loose[pool.part[loose] == number]))
    for name, indices in kinds:
        if len(indices):
            few = indices[np.unique(np.linspace(0, len(indices) - 1, EXAMPLES).astype(int))]
            found.append({"name": name, "n": len(indices), "images": _entries(pool, few)})
    return found


def mentioned(tree: Any) -> list[dict[str, Any]]:
    """Every image that a document shows, but not those of the map."""
    if isinstance(tree, dict):
        if "index" in tree and "file" in tree:
            return [tree]
        return [found for key, item in tree.items() if key != "map" for found in mentioned(item)]
    return [found for item in tree for found in mentioned(item)] if isinstance(tree, list) else []


def _pictures(pool: Pool, text: dict[str, Any]) -> dict[int, str]:
    shown = text | {"suspects": text["suspects"] and {"images": text["suspects"]["images"][:SHOWN]}}
    return {index: _picture(pool, index) for index in sorted({own["index"] for own in mentioned(shown)})}


def _picture(pool: Pool, index: int) -> str:
    """A data URI: the image, and beside it its mask in colours."""
    image = torch.from_numpy(np.array(pool.image(index))).permute(2, 0, 1).float().div(255)
    image = image.expand(3, -1, -1)
    mask = pool.mask(index)
    if mask is not None:
        from gssl.figures.masks import overlay

        over = overlay(image[None], torch.from_numpy(np.array(mask))[None], pool.classes)[0]
        image = torch.cat([image, over], dim=2)
    made = Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
    made.thumbnail((SIDE * (2 if mask is not None else 1), SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    made.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _issues(pool: Pool, text: dict[str, Any], groups: list[Group]) -> list[dict[str, Any]]:
    """One row per file and problem: what can be sorted, filtered and acted on."""
    rows = [
        {"file": line.split(" (", 1)[0], "kind": "unreadable", "detail": line.split(" (", 1)[-1].rstrip(")")}
        for line in text["skipped"]
    ]

    def row(kind: str, index: int, detail: str) -> dict[str, Any]:
        own = entry(pool, index)
        return {"file": own["file"], "part": own["part"], "label": own["label"], "kind": kind, "detail": detail}

    for number, group in enumerate(groups):
        kind = "conflicting_labels" if group.conflicting(pool) else "test_copy" if group.torn(pool) else "duplicate"
        how = f"group {number + 1}, {'equal pixels' if group.exact else 'near copy'}"
        rows += [row(kind, i, how) for i in group.members]
    for own in (text["suspects"] or {"images": []})["images"]:
        rows.append(row("suspicious_label", own["index"], f"neighbours say {own['likely']} ({own['vote']:.2f})"))
    if text["outliers"]:
        far = [own for own in text["outliers"]["images"] if own["distance"] > text["outliers"]["fence"]]
        rows += [row("outlier", own["index"], f"distance {own['distance']:.3f}") for own in far]
    for kind, found in text["remarkable"].items():
        rows += [row(kind, own["index"], found["text"]) for own in found["images"]]
    return rows
