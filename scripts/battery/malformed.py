"""Malformed configurations, overrides, images, folders, CSVs, files of weights, and hostile payloads.

Each call ends with a documented exit code and, where it refuses, with one line, soon, and leaves nothing half made.
A payload must not run; the same file read as a pickle shows that it would.
"""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from scripts.battery.trial import Said, call

LIMIT, HUNG = 30, 150  # seconds of one trial: of processor, and of the clock with hardly any of it; a signal ends it
REFUSED = 2.0  # seconds of processor that a refusal may take
FAST = ["budget.steps=1", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
USE = ["probe.use=[knn]", "labels_per_class=[2]", "draws=1", "diagnose.pictures=false", "data.size=16", *FAST[1:]]
TRANSFER = ["transfer", *USE, "backbone.width=8"]
COMMANDS = ["pretrain-ssl", "train-gan", "transfer", "curve", "compare"]

Trial = Callable[[Path], str]


def gate(words: list[str], codes: tuple[int, ...] = (0, 1, 2)) -> str:
    """`gssl WORDS`: what is wrong with how it ended, or ""."""
    given = Path("run").exists()
    said, spent = timed(words)
    if said.code == 2 and spent > REFUSED and not Path("run").exists():  # a busy machine: the better of two counts
        spent = min(spent, timed(words)[1])
    return fault(said, spent, codes) or ("" if given else half_made(said.code))


def timed(words: list[str]) -> tuple[Said, float]:
    begun = time.process_time()
    said = call(*words)
    return said, time.process_time() - begun


def fault(said: Said, spent: float, codes: tuple[int, ...]) -> str:
    text = said.out + said.err
    lines = [line for line in said.err.splitlines() if line.startswith("error:")]
    last = (said.err.strip().splitlines() or [""])[-1][:200]
    if said.code not in codes:
        return f"exit {said.code} where {codes} is documented: {last}"
    if "Traceback" in text or "please report" in text.lower():
        return f"a traceback or a fault that nobody foresaw: {last}"
    if said.code and len(lines) != 1:
        return f"exit {said.code} with {len(lines)} lines of error: {last}"
    if said.code == 2 and spent > REFUSED:
        return f"refused after {spent:.1f} s of processor: {last}"
    if any(ord(c) < 32 and c not in "\n\t\r" for c in text):
        return "control characters are printed raw"
    return ""


def half_made(code: int) -> str:
    """What a refused call left in the working directory."""
    run = Path("run")
    if code == 2 and run.is_dir() and not (run / "status.json").is_file():
        return f"a half-made directory: {sorted(os.listdir(run))[:5]}"
    if (run / "status.json").is_file():
        state = json.loads((run / "status.json").read_text()).get("state")
        if state == "running" or (state == "finished") != (code == 0):
            return f"exit {code}, and status.json says {state}"
    return ""


def bounded(trial: Trial) -> Trial:
    def inside(where: Path) -> str:
        os.environ["GSSL_CACHE"] = str(where / "cache")
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        _watched(time.process_time())
        with contextlib.chdir(where):
            return trial(where)

    return inside


def _watched(spent: float) -> None:
    """End this process in HUNG seconds where it waits for something; where it works on a busy machine, look again."""

    def look(*_: object) -> None:
        if time.process_time() - spent < 0.01 * HUNG:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGALRM)
        _watched(time.process_time())

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, HUNG)


# ── configurations and overrides ─────────────────────────────────────────────────────────────────

KEYS = [
    *("ssl", "gan", "backbone", "data", "engine", "budget", "seed", "weights", "experiment", "ssl.temperature"),
    *("budget.steps", "engine.device", "engine.threads", "data.root", "data.size", "data.range", "probe.use"),
    *("labels_per_class", "hydra.run.dir", "hydra.sweep.dir", "hydra/launcher", "data.labels", "arms", "seeds"),
    *("resume", "optim.lr", "eval.every", "data@x", "check", "runs", "sources", "backbone.width", "no.such.key", ""),
]
VALUES = [
    *("null", "nan", "inf", "-1", "0", "1e400", "18446744073709551616", "true", "''", "[]", "{}", "[[[]]]", "{a:b}"),
    *("[1,", "{", "'", '"', "\\", "${x}", "${oc.env:HOME}", "${", "???", "!!python/object:os.system", "a=b", "=", ","),
    *("1,2", "\x1b[31m", "a\nb", "a\0b", "caf\udce9", "é" * 200, "[" * 400, "x" * 5000, "../" * 300, "/dev/null"),
    *("/dev/zero", "/proc/self/mem", "choice(1,2)", "range(0,1e9)", "99999999999", "0x10", "1_000", "-0", "cuda:99"),
]
YAMLS = [
    "a: [\n",
    "a: &a [*a]\n",
    "a: &a [1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "- 1\n",
    "7\n",
    "",
    "\0",
    "a: !!python/object/apply:os.mkdir [ran]\n",
    "ssl: !!python/name:os.system\n",
    "_target_: os.mkdir\npath: ran\n",
    "ssl: {_target_: os.mkdir, path: ran}\n",
    "defaults: [mine]\n",
    "defaults: [/experiment/../../../etc/passwd]\n",
    "defaults: 3\n",
    "a: " + "[" * 3000 + "]" * 3000,
    "".join("  " * i + f"k{i}: \n" for i in range(900)),
    "# " + "x" * 2**21,
    "seed: ${seed}\n",
    "seed: 1\nseed: 2\n",
    "\ufeffseed: 1\n",
    "seed: .nan\n",
    "? [a, b]\n: 1\n",
    "1: 2\n",
    "null: 2\n",
]


def override(k: int) -> Trial:
    rng = random.Random(k)

    def trial(_: Path) -> str:
        command = rng.choice(COMMANDS)
        texts = [
            rng.choice(["", "", "", "+", "++", "~"]) + rng.choice(KEYS) + rng.choice(["=", "=", "=", ""]) + value
            for value in rng.sample(VALUES, rng.choice([1, 1, 1, 2, 3]))
        ]
        flags = rng.choice(
            [["--dry-run"], ["--dry-run"], ["--cfg", "job"], ["--dry-run", "-m"], ["--cfg", "job", "--resolve"]]
        )
        what = gate([command, *texts, *flags], (0, 2))
        return f"{[command, *texts, *flags]!r:.300}: {what}" if what else ""

    return trial


def configuration(k: int) -> Trial:
    def trial(where: Path) -> str:
        command = COMMANDS[k % len(COMMANDS)]
        group = ["experiment/" + command.replace("-", "_"), "experiment", "ssl", "data"][k // 5 % 4]
        file = where / "conf" / group / "mine.yaml"
        file.parent.mkdir(parents=True)
        text = YAMLS[k % len(YAMLS)]
        head = "# @package _global_\n" if k % 2 else ""
        file.write_text(head + text, encoding="utf-8")
        words = [command, f"{group.split('/')[0]}=mine", "--config-dir", str(where / "conf"), "--dry-run"]
        what = gate(words, (0, 2)) or ("executed" if (where / "ran").exists() else "")
        return f"{text[:60]!r} as {group} of {command}: {what}" if what else ""

    return trial


# ── images and folders ───────────────────────────────────────────────────────────────────────────


def picture(rng: random.Random, mode: str = "RGB", form: str = "PNG", side: tuple[int, int] = (16, 16), **how) -> bytes:
    import numpy as np
    from PIL import Image

    shape = side[::-1] + ((3,) if mode == "RGB" else (4,) if mode in ("RGBA", "CMYK") else (2,) if mode == "LA" else ())
    draw = np.random.default_rng(rng.randrange(2**32))
    kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    values = draw.integers(0, 4096 if mode in kinds else 256, shape).astype(kinds.get(mode, np.uint8))
    image = Image.fromarray(values > 127) if mode == "1" else Image.fromarray(values)
    image = image.convert(mode) if image.mode != mode and mode in ("CMYK", "P", "LA", "RGBA") else image
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def folder(rng: random.Random, root: Path, classes: int = 2, each: int = 12) -> list[Path]:
    made = []
    for c in range(classes):
        for i in range(each):
            file = root / "abcdefgh"[c] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(rng))
            made.append(file)
    return made


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def strange(rng: random.Random, kind: str, file: Path) -> None:
    """Put something that is not an ordinary image where `file` is."""
    file.unlink(missing_ok=True)
    whole = picture(rng)
    png = b"\x89PNG\r\n\x1a\n"
    huge = (
        png
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    )
    if kind in ("fifo", "link to fifo"):
        os.mkfifo(file if kind == "fifo" else file.with_suffix(".pipe"))
        if kind != "fifo":
            file.symlink_to(file.with_suffix(".pipe"))
    elif kind.startswith("/") or kind == "loop" or kind == "nowhere":
        file.symlink_to({"loop": str(file), "nowhere": "missing.png"}.get(kind, kind))
    elif kind == "directory":
        file.mkdir()
    else:
        data = {
            "empty": lambda: b"",
            "text": lambda: b"no image at all\n" * 9,
            "cut": lambda: whole[: rng.randrange(1, len(whole))],
            "flipped": lambda: bytes(b ^ (rng.random() < 0.02) * 255 for b in whole),
            "noise": lambda: rng.randbytes(999),
            "bomb": lambda: huge,
            "huge bmp": lambda: (
                b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
            ),
            "long text": lambda: (
                png + whole[8:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 2**22)) + whole[33:]
            ),
            "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "pickle": lambda: pickle.dumps({"a": 1}),
            "jpeg cut": lambda: picture(rng, form="JPEG")[:-60],
            "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(ran) (w) file\n",
        }
        modes = {
            "I;16": "PNG",
            "I": "TIFF",
            "F": "TIFF",
            "CMYK": "JPEG",
            "1": "PNG",
            "LA": "PNG",
            "P": "GIF",
            "L": "BMP",
        }
        file.write_bytes(data[kind]() if kind in data else picture(rng, kind, modes[kind]))


STRANGE = [
    *("fifo", "link to fifo", "/dev/zero", "/dev/null", "/etc/passwd", "/proc/self/mem", "loop", "nowhere"),
    "directory",
    *("empty", "text", "cut", "flipped", "noise", "bomb", "huge bmp", "long text", "svg", "pickle", "jpeg cut", "eps"),
    *("I;16", "I", "F", "CMYK", "1", "LA", "P", "L"),
]
ODD = [
    "\x1b[31mred",
    "a\nb",
    "caf\udce9",
    "<script>",
    "-rf",
    "a b",
    "é",
    "=cmd",
    "train",
    "..x",
    "x" * 200,
    "@eaDir",
    "%s",
]


def image(k: int) -> Trial:
    rng = random.Random(1000 + k)

    def trial(where: Path) -> str:
        files = folder(rng, where / "p")
        kind, many = STRANGE[k % len(STRANGE)], rng.choice([1, 1, 3, 12, 24])
        for file in rng.sample(files, many):
            strange(rng, kind, file)
        words = [*TRANSFER, "weights=random", "data=imagefolder", "data.root=p", "hydra.run.dir=run"]
        if k % 3 == 1:
            words = ["pretrain-ssl", "data=imagefolder", "data.root=p", "data.size=16", "backbone.width=8"]
            words += ["ssl.batch_size=8", *FAST, "hydra.run.dir=run", "eval.every=null"]
        what = gate(words if k % 3 else ["data", "p", "-n", "5", "-o", "page"])
        return f"{many} of 24 files are {kind}, {words[0] if k % 3 else 'data'}: {what}" if what else ""

    return trial


def layout(k: int) -> Trial:
    rng = random.Random(2000 + k)

    def trial(where: Path) -> str:
        kind, root = k % 10, where / "p"
        if kind != 0:
            folder(rng, root, rng.choice([1, 2, 3]), rng.choice([1, 2, 5, 12]))
        odd = rng.choice(ODD)
        if kind == 1:
            (root / "a").rename(root / odd)
        elif kind == 2:
            next(iter((root / "a").iterdir())).rename(root / "a" / f"{odd}.png")
        elif kind == 3:
            (root / "self").symlink_to(root)
        elif kind == 4:
            (root / "empty").mkdir()
        elif kind == 5:
            (root / "a").rename(root / rng.choice(["train", "Test", "valid", "unlabelled", "runs", "__MACOSX"]))
        elif kind == 6:
            deep = root / "a" / ("d/" * 200)
            deep.mkdir(parents=True)
            (deep / "x.png").write_bytes(picture(rng))
        elif kind == 7:
            (root / "a").chmod(0)
        elif kind == 8:
            root.rename(where / "q")
            root.write_bytes(rng.randbytes(99))
        elif kind == 9:
            os.mkfifo(root / "labels.csv")
        words = [*TRANSFER, "weights=random", "data=imagefolder", "data.root=p", "hydra.run.dir=run"]
        plan = ["compare", "p", "--dry-run"] if kind else ["data", "p"]
        words = words if k % 2 else plan
        return f"layout {kind} ({odd!r:.20}), {words[0]}: {what}" if (what := gate(words)) else ""

    return trial


def table(k: int) -> Trial:
    rng = random.Random(3000 + k)

    def trial(where: Path) -> str:
        names = [str(file.relative_to(where / "p")) for file in folder(rng, where / "p")]
        mark = rng.choice([",", ";", "\t", "|", " ", ",,"])
        head = rng.choice(
            ["path,label", "label,path", "PATH,Label,split", "path", "", "path,path", "a,b", "path,label,group"]
        )
        splits = ["train", "test", "val", "pretrain", "TRAINING", "nonsense", ""]
        rows = [[name, name[0], rng.choice(splits) if "split" in head else str(i)] for i, name in enumerate(names)]
        damage = rng.choice(
            ["", "quote", "missing", "outside", "blank", "twice", "long", "nul", "bytes", "formula", "wide"]
        )
        at = rows[rng.randrange(len(rows))]
        at[0] = {"missing": "none.png", "outside": "../../etc/passwd", "twice": rows[0][0], "nul": "a\0b"}.get(
            damage, at[0]
        )
        at[1] = {"blank": "", "long": "x" * 9000, "formula": "=cmd()", "quote": '"open'}.get(damage, at[1])
        order = [
            head.lower().split(",").index(key) if key in head.lower().split(",") else None for key in ("path", "label")
        ]
        if order[0] == 1:
            rows = [[b, a, *c] for a, b, *c in rows]
        width = len(head.split(",")) + 3 * (damage == "wide") if head else 2
        text = "\n".join([head.replace(",", mark), *(mark.join(row[:width]) for row in rows)])
        coding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
        data = text.encode(coding) + (b"\xff\xfe\x80" if damage == "bytes" else b"")
        (where / "p" / "labels.csv").write_bytes(data)
        words = [*TRANSFER, "weights=random", "data=imagefolder", "data.root=p", "hydra.run.dir=run"]
        words = words if k % 2 else ["compare", "p", "--dry-run"]
        return f"CSV {head!r} by {mark!r}, {damage or 'whole'}, {coding}: {what}" if (what := gate(words)) else ""

    return trial


# ── files of weights ─────────────────────────────────────────────────────────────────────────────


def weights(k: int) -> Trial:
    rng = random.Random(4000 + k)

    def trial(where: Path) -> str:
        import torch
        from safetensors.torch import save_file

        folder(rng, where / "p", each=8)
        torch.manual_seed(k)
        arms = rng.choice([1, 3, 3, 4])
        state = {
            "conv1.weight": torch.randn(8, arms, 3, 3),
            "bn1.weight": torch.ones(8),
            "fc.weight": torch.randn(2, 8),
        }
        odd = {
            0: {}, 1: state, 2: {"x": torch.tensor(float("nan"))}, 3: {n: v.half() for n, v in state.items()},
            4: {"\x1b[31m\n": torch.ones(1)}, 5: {n: v.to(torch.complex64) for n, v in state.items()},
            6: {n: torch.full_like(v, float("nan")) for n, v in state.items()},
            7: {f"l{i}": torch.ones(1) for i in range(3000)}, 8: {"x" * 9000: torch.ones(1)},
            9: {"a": torch.zeros(0, 3)},
        }[k % 10]  # fmt: skip
        prefix = rng.choice(["", "module.", "_orig_mod.", "net.", "student.", "a.b.c."])
        odd = {prefix + name: value for name, value in odd.items()}
        form, file = k // 10 % 6, where / "w.pth"
        if form == 0:
            torch.save(odd, file)
        elif form == 1:
            torch.save({"epoch": 3, rng.choice(["state_dict", "model_ema", "zzz"]): odd}, file)
        elif form == 2:
            torch.save(rng.choice([odd.get("x"), 3, "text", [1, [2]], None, {1: 2}, {"a": {"b": {}}}]), file)
        else:
            file = where / "w.safetensors"
            save_file(odd, file)
            data = file.read_bytes()
            if form == 4:
                file.write_bytes(data[: rng.randrange(len(data))])
            elif form == 5:
                file.write_bytes(struct.pack("<Q", rng.choice([0, 5, 2**40, 2**64 - 1])) + data[8:])
        network = rng.choice(["backbone.width=8", "backbone.width=8", "backbone=resnet18"])
        words = ["transfer", *USE, network, f"weights={file}", "data=imagefolder", "data.root=p", "hydra.run.dir=run"]
        what = gate(words) or unread(words, file)
        return f"weights of kind {k % 10}, form {form}, prefix {prefix!r}, {network}: {what}" if what else ""

    return trial


def unread(words: list[str], file: Path) -> str:
    """What is wrong where a call does not come to `file`: without it, the same call must say that it is not there."""
    file.unlink()
    shutil.rmtree("run", ignore_errors=True)
    said = call(*words)
    return "" if said.code and file.name in said.err else f"the file was not asked for: {said.err[-200:]}"


class Payload:
    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple:
        return {
            "mkdir": (os.mkdir, ("ran",)),
            "system": (os.system, ("mkdir ran",)),
            "eval": (eval, ("__import__('os').mkdir('ran')",)),
            "exec": (exec, ("import os; os.mkdir('ran')",)),
        }[self.how]


def hostile(k: int) -> Trial:
    how = ["mkdir", "system", "eval", "exec"][k % 4]
    form = ["zip", "old", "pickle"][k // 4 % 3]
    use = ["transfer", "pretrain-ssl", "convert", "train-gan", "curve"][k // 12 % 5]

    def trial(where: Path) -> str:
        import torch

        folder(random.Random(k), where / "p", each=8)
        content, file = {"state_dict": {"conv1.weight": torch.ones(8, 3, 3, 3)}, "x": Payload(how)}, where / "w.pth"
        if form == "pickle":
            file.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
        data = ["data=imagefolder", "data.root=p", "data.size=16", "hydra.run.dir=run"]
        words = {
            "transfer": [*TRANSFER, f"weights={file}", *data],
            "pretrain-ssl": ["pretrain-ssl", f"weights={file}", *data, *FAST],
            "convert": ["convert", str(file)],
            "train-gan": ["train-gan", f"weights={file}", *data, "evaluator=random", *FAST],
            "curve": ["curve", f"sources=[{file},random]", *data, *USE],
        }[use]
        what = gate(words, (1, 2))
        if (where / "ran").exists():
            return f"{how} in a {form} ran by {use}"
        if form == "pickle":
            pickle.loads(file.read_bytes())
        else:
            torch.load(file, weights_only=False)
        what = what or ("" if (where / "ran").exists() else "the positive control did not run") or unread(words, file)
        return f"{how} in a {form}, {use}: {what}" if what else ""

    return trial


def trials() -> list[tuple[str, Trial]]:
    kinds = [
        (override, 228),
        (configuration, 72),
        (image, 200),
        (layout, 100),
        (table, 100),
        (weights, 120),
        (hostile, 60),
    ]
    # in turn, so that a bounded call has some of every kind
    order = sorted(((k + 0.5) / many, at, k) for at, (_, many) in enumerate(kinds) for k in range(many))
    return [(f"{kinds[at][0].__name__}-{k}", bounded(kinds[at][0](k))) for _, at, k in order]
