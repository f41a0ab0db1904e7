"""Data sets of Hugging Face: `data=hf data.root=FOLDER` or `ORG/NAME`, Parquet or Arrow files of images.

The images' bytes are written as files below `$GSSL_CACHE/unpacked`, once. From there on they are what a folder of
images is: the same store, hashes, splits and messages that name a file.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gssl import schemas
from gssl.data import cache, checksums, decode
from gssl.data.draws import digest
from gssl.data.index import Coded
from gssl.data.sources import DataSource, hf_files, imagefolder
from gssl.data.sources.folders import one_line
from gssl.data.unpacked import ROWS, Unpacked, Unpacking
from gssl.errors import UsageError

LABELS = ("label", "labels", "fine_label", "class", "target")  # names of columns, where nothing says which it is
AT_A_TIME = 256  # rows
MAGIC = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
PATTERNS = ["*.parquet", "*.arrow", "README.md", "*.json"]
FORMAT = 3  # part of the key of what is unpacked


class Columns(NamedTuple):
    """Names of the columns that are read, of the classes where labels are numbers, and of the other columns."""

    image: str
    label: str | None
    group: str | None
    names: list[str] | None
    others: list[str]


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images of `data=hf`. data.labels and data.groups name columns.

    Errors: UsageError for a folder without such files, columns that are not there, broken files.
    """
    if cfg.root is None:
        raise UsageError("data.root must be given: a folder of Parquet or Arrow files, or ORG/NAME of a data set")
    _check_installed()
    folder = _folder(cfg.root)
    warnings: list[str] = []
    parts = hf_files.splits(folder, warnings)
    columns = _columns(folder, parts["train"][0], cfg)
    if columns.label is None and columns.others:
        warnings.append(
            f"data.root: no column is called {', '.join(LABELS)} or declared as classes, so no image has a label;"
            f" where one of {', '.join(columns.others)} holds them: data.labels=COLUMN"
        )
    listings = {name: _listing(name, folder, files, columns, progress) for name, files in parts.items()}
    for part in ("val", "test"):
        if part in listings and not listings[part].labels.used() and listings["train"].labels.used():
            warnings.append(f"data.root: the {part} images have no labels: left out")
            del listings[part]
    if "pretrain" in listings:
        listings["pretrain"].labels = Coded.none(len(listings["pretrain"].names))
    return imagefolder.loaded(listings, cfg, warnings, progress)


def _check_installed() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError("data=hf: needs pyarrow; pip install 'gssl[hf]'") from error


def _folder(root: str) -> Path:
    """The folder that data.root names, fetched where it is ORG/NAME. Raises UsageError."""
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    if not hf_files.NAME.fullmatch(root) or path.exists():
        raise UsageError(f"data.root: {root} is no folder; give one with Parquet or Arrow files, or ORG/NAME")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UsageError(f"data.root={root}: needs huggingface_hub; pip install 'gssl[hf]'") from error
    try:
        return Path(snapshot_download(root, repo_type="dataset", allow_patterns=PATTERNS, etag_timeout=10))
    except Exception as error:  # of whatever connects, resolves and writes
        why = one_line(str(error))[:160] or type(error).__name__
        raise UsageError(
            f"data.root={root}: there is no such folder, and the data set of this name cannot be fetched ({why});"
            " where there is no network, give a folder that holds its files"
        ) from error


# ── columns ──────────────────────────────────────────────────────────────────────────────────────


def _columns(folder: Path, file: Path, cfg: schemas.Data) -> Columns:
    """Which columns of the first training file are what. Raises UsageError."""
    schema = _schema(file)
    known = hf_files.features(folder, file, schema.metadata)
    images = [name for name in schema.names if known.get(name, {}).get("_type") == "Image"]
    images = images or [field.name for field in schema if _may_hold_images(field.type)]
    listed = ", ".join(schema.names)
    if not images:
        raise UsageError(f"data.root: {file} has no column of images; its columns are {listed}")
    for key in ("labels", "groups"):
        name = getattr(cfg, key)
        if name is not None and name not in schema.names:
            raise UsageError(f"data.{key}={name}: {file} has no such column; its columns are {listed}")
    label = cfg.labels
    if label is None:
        typed = [name for name in schema.names if known.get(name, {}).get("_type") == "ClassLabel"]
        label = next((name for name in (*typed[:1], *LABELS) if name in schema.names), None)
    about = known.get(label, {}) if label else {}
    inner = about.get("feature")
    names = about.get("names") or (inner.get("names") if isinstance(inner, dict) else None)
    names = [str(name) for name in names] if isinstance(names, list) else None
    others = [name for name in schema.names if name not in (*images, label, cfg.groups)]
    return Columns(images[0], label, cfg.groups, names, others)


def _may_hold_images(kind: Any) -> bool:
    """A struct with bytes, or bytes."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _schema(file: Path) -> Any:
    with _readable(file):
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_schema(file)
        return next(_arrow(file)).schema


def _rows(file: Path, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows of a file, some at a time."""
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(file).iter_batches(AT_A_TIME, columns=columns):
            yield batch.to_pylist()
        return
    for batch in _arrow(file):
        for start in range(0, batch.num_rows, AT_A_TIME):
            yield batch.slice(start, AT_A_TIME).select(columns).to_pylist()


def _arrow(file: Path) -> Iterator[Any]:
    """Record batches of a stream, as `datasets` saves it, or of a file with a footer."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        try:
            yield from pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


class _readable:
    """What pyarrow raises within becomes a UsageError that names the file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and (isinstance(error, OSError) or type(error).__module__.startswith("pyarrow")):
            raise UsageError(
                f"data.root: {self.file} cannot be read ({one_line(str(error))[:160]}); fetch it again or remove it"
            ) from error


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def _listing(part: str, folder: Path, files: list[Path], columns: Columns, progress: bool) -> imagefolder.Listing:
    """The images of a part as files, unpacked where they are not yet."""
    contents = cache.contents(folder, [str(file.resolve()) for file in files], decode.threads(0))
    told = [[file.name, content] for file, content in zip(files, contents, strict=True)]
    key = digest("unpacked", FORMAT, json.dumps([told, columns[:4]])).hex()
    home = cache.cache_root() / "unpacked"
    target = home / key
    rows, why = _unpacked(target)
    if rows is None:
        with cache.alone(home, key):
            rows, why = _unpacked(target)  # another process may have done it
            if rows is None:
                if why:
                    cache.say(f"cache: {target}: {why}; the images are unpacked anew")
                work = home / f"{key}.part"
                cache.remove(work)
                try:
                    work.mkdir()
                    _unpack(part, folder, files, columns, work, progress)
                    cache.remove(target)
                    os.rename(work, target)
                finally:
                    cache.remove(work)
                rows = Unpacked.read(target)
    return imagefolder.Listing("data.root", target, rows.names, rows.labels, rows.groups, rows.contents)


def _unpacked(target: Path) -> tuple[Unpacked | None, str]:
    """(what was unpacked before, why that cannot be used): every file is what was written, as times and inodes tell."""
    try:
        rows = Unpacked.read(target)
        why = rows.changed(cache.looked_up(target, rows.names, decode.threads(0))[1])
    except FileNotFoundError:
        return None, ""
    except cache.BROKEN as error:
        return None, f"is damaged ({checksums.reason(error)})"
    if why:
        return None, why
    checksums.touch(target / ROWS)
    return rows, ""


def _unpack(part: str, folder: Path, files: list[Path], columns: Columns, work: Path, progress: bool) -> None:
    """Write every image as a file, and what is known of it."""
    wanted = [name for name in columns[:3] if name is not None]
    found = Unpacking(columns.group is not None)
    with decode.bar(f"unpacking {len(files):,} files of {part} images", len(files), progress) as advance:
        for file in files:
            with _readable(file):
                for rows in _rows(file, wanted):
                    for row in rows:
                        name, content = _write(row[columns.image], len(found), folder, work)
                        label = _label(row[columns.label], columns.names) if columns.label else None
                        found.add(name, content, label, str(row[columns.group]) if columns.group else "")
            advance(1)
    found.write(work)


def _write(image: Any, number: int, folder: Path, work: Path) -> tuple[str, str]:
    """The name of the file that holds an image, bytes or {"bytes", "path"} where either may be absent; its content."""
    raw, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    path = path if isinstance(path, str) else None
    if raw is None and path:
        own = (folder / path.replace("\0", "")).resolve()  # a regular file of this data set, and no other
        raw = own.read_bytes() if own.is_relative_to(folder.resolve()) and own.is_file() else None
    raw = (
        raw if isinstance(raw, bytes) else b""
    )  # an image that is not there is a broken file, which data.on_error is about
    suffix = next((suffix for head, suffix in MAGIC.items() if raw.startswith(head)), ".img")
    stem = re.sub(r"[^\w-]+", "_", Path(path).stem)[:60] if path else ""
    name = f"{number:07}{f'-{stem}' if stem else ''}{suffix}"
    (work / name).write_bytes(raw)
    return name, cache.content_hash(raw)


def _label(value: Any, names: list[str] | None) -> str | None:
    """The class; None where a row has no label."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if value is None or value == -1 or value == "":
        return None
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else str(value)
    return str(value)
