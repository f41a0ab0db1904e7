"""500 calls of the command line drawn by a seeded generator: one change, or a few, to calls that work.

What would train is asked for its plan or configuration only. The run that is read was trained for one step.
"""

import os
import random
import shutil
from pathlib import Path

from scripts.battery.malformed import FAST, KEYS, ODD, STRANGE, VALUES, Trial, bounded, folder, gate, strange
from scripts.battery.trial import command, fork, wait

DATA = ["data=imagefolder", "data.root=p", "data.size=16"]
CONFIGURED = [
    ["pretrain-ssl", *DATA],
    ["train-gan", *DATA, "evaluator=random"],  # another one trains before its first use
    ["transfer", *DATA, "weights=run"],
    ["transfer", *DATA, "weights=random", "probe.use=[knn]"],
    ["curve", *DATA, "sources=[run,random]", "fractions=[1.0]", "labels_per_class=[]"],
    ["compare", *DATA, "arms=[simclr,random]", "seeds=3"],
]
READING = [
    *(["runs", "list"], ["runs", "show", "run"], ["runs", "compare", "run", "other"], ["inspect", "run"]),
    *(["embed", "run", "p", "-o", "f.npz"], ["export", "run"], ["watch", "run", "--once"], ["cache", "list"]),
    *(["cache", "verify"], ["cache", "prune", "--dry-run"], ["data", "p", "-n", "5", "-o", "page"]),
    *(["predict", "run", "p"], ["sample", "run"], ["evaluate", "run"], ["convert", "run"]),
]
FLAGS = [
    *("--json", "--force", "-o", "-n", "--device", "--top", "--out", "--labels", "--against", "--resolve", "--package"),
    *("--config-dir", "--minutes", "--check", "--no-such", "--", "-", "--progress", "--days", "--cfg", "--info"),
]
PATHS = ["p", "run", "other", "file", "fifo", "dangling", "missing", "/dev/null", "/dev/zero", ".", "", "p/a/0.png"]
CONTENTS = [b"", b"[]", b"7", b"null", b"{", b'{"state": []}', b"[" * 5000, b"\xff\xfe", b'{"schema": "gssl.result/1"}',
            b"NaN", b'"\x1b[31m"', b"a: &a [*a]\n", b'{"state": "finished", "command": "transfer"}']  # fmt: skip


def trained() -> Path:
    """A run of one step and its images, made once."""
    place = Path(os.environ["GSSL_CACHE"]).with_name("fuzz-run")
    if not (place / "run" / "result.json").is_file():
        shutil.rmtree(place, ignore_errors=True)
        folder(random.Random(0), place / "p")

        def work() -> int:
            os.chdir(place)
            words = ["pretrain-ssl", *DATA, "backbone.width=8", "ssl.batch_size=8", *FAST]
            return command(*words, "hydra.run.dir=run")

        assert wait(fork(work, place / "log")) == 0, (place / "log").read_text()
    return place


def changed(rng: random.Random, words: list[str]) -> list[str]:
    """One change to a call."""
    at, words = rng.randrange(1, len(words)), list(words)
    kind = rng.randrange(8)
    if kind == 0:
        words[at] = rng.choice([*VALUES, *ODD, *PATHS])
    elif kind == 1:
        del words[at]
    elif kind == 2:
        words.insert(at, words[at])
    elif kind == 3:
        words.insert(at, rng.choice(FLAGS))
    elif kind == 4 and "=" in words[at]:
        words[at] = words[at].partition("=")[0] + "=" + rng.choice([*VALUES, *PATHS])
    elif kind == 5:
        words.append(f"{rng.choice(KEYS)}={rng.choice(VALUES)}")
    elif kind == 6:
        words[at] = words[at][: rng.randrange(len(words[at]) + 1)]
    else:
        rest = words[1:]
        rng.shuffle(rest)
        words[1:] = rest
    return words


def one(k: int, kept: Path) -> Trial:
    rng = random.Random(5000 + k)

    def trial(where: Path) -> str:
        shutil.copytree(kept, where, dirs_exist_ok=True)
        shutil.copytree(where / "run", where / "other")
        (where / "file").write_bytes(rng.randbytes(50))
        os.mkfifo(where / "fifo")
        (where / "dangling").symlink_to("missing")
        images = sorted((where / "p").rglob("*.png"))
        damage = rng.choice(["", "", "document", "image"])
        if damage == "image":
            strange(rng, rng.choice([kind for kind in STRANGE if "fifo" not in kind]), rng.choice(images))
        elif damage:
            files = [p for p in (where / "run").rglob("*") if p.suffix in (".json", ".jsonl", ".yaml")]
            rng.choice(sorted(files)).write_bytes(rng.choice(CONTENTS))
        if k % 2:
            words = [*rng.choice(CONFIGURED), rng.choice(["--dry-run", "--dry-run", "--cfg=job", "--cfg=schema"])]
            words[1:] = [words[-1], *words[1:-1]]
        else:
            words = list(rng.choice(READING))
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            head = 2 if k % 2 else 1  # --dry-run stays: nothing trains
            words = [*words[: head - 1], *changed(rng, words[head - 1 :])] if len(words) > head else words
        home = sorted(os.listdir(where / "p"))
        what = gate([word.replace("\0", "\\0") for word in words], (0, 1, 2))
        what = what or ("" if sorted(os.listdir(where / "p")) == home else "the folder of images was changed")
        return f"{words!r:.300} ({damage}): {what}" if what else ""

    return trial


def trials() -> list[tuple[str, Trial]]:
    kept = trained()
    return [(f"call-{k}", bounded(one(k, kept))) for k in range(500)]
