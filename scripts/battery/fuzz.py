"""500 calls of the command line drawn by a seeded generator: commands, flags, overrides, paths, in any order.

Nothing trains: what would is asked for its plan or configuration only.
"""

import os
import random
from pathlib import Path

from scripts.battery.malformed import KEYS, ODD, STRANGE, VALUES, Trial, bounded, folder, gate, strange

CONFIGURED = ["train-gan", "pretrain-ssl", "transfer", "curve", "compare"]
READING = [
    *(["runs", "list"], ["runs", "show"], ["runs", "compare"], ["runs"], ["inspect"], ["evaluate"], ["export"]),
    *(["embed"], ["predict"], ["sample"], ["convert"], ["watch", "--once"], ["cache", "list"], ["cache", "verify"]),
    *(["cache", "prune", "--dry-run"], ["data"], ["compare", "--explain"]),
]
FLAGS = [
    *("--json", "--force", "-o", "-n", "--device", "--top", "--out", "--labels", "--against", "--resolve", "--package"),
    *("--multirun", "-m", "--config-dir", "--minutes", "--check", "--no-such", "--", "-", "--progress", "--days"),
]
DOCUMENTS = ["status.json", "result.json", "config.yaml", "metrics.jsonl", "report.json", "backbone.json"]
CONTENTS = [b"", b"[]", b"7", b"null", b"{", b'{"state": []}', b"[" * 5000, b"\xff\xfe", b'{"schema": "gssl.result/1"}',
            b"NaN", b'"\x1b[31m"', b"a: &a [*a]\n", b'{"state": "finished", "command": "transfer"}']  # fmt: skip


def place(rng: random.Random, where: Path) -> list[str]:
    """Files and folders of every kind, and what they are called in calls."""
    files = folder(rng, where / "p", each=4)
    strange(rng, rng.choice(STRANGE), files[0])
    for name in ("run", "other"):
        (where / name / "weights").mkdir(parents=True)
        for document in DOCUMENTS:
            if rng.random() < 0.7:
                at = where / name / ("weights" if document == "backbone.json" else "") / document
                at.write_bytes(rng.choice(CONTENTS))
    (where / "file").write_bytes(rng.randbytes(50))
    os.mkfifo(where / "fifo")
    (where / "dangling").symlink_to("missing")
    return ["p", "run", "other", "file", "fifo", "dangling", "missing", "/dev/null", "/dev/zero", ".", "", "p/a/0.png"]


def one(k: int) -> Trial:
    rng = random.Random(5000 + k)

    def trial(where: Path) -> str:
        paths = place(rng, where)
        extra = [
            rng.choice([rng.choice(paths), rng.choice(FLAGS), rng.choice(ODD), rng.choice(VALUES)]) for _ in range(3)
        ]
        sets = [f"{rng.choice(KEYS)}={rng.choice(VALUES + paths)}" for _ in range(rng.randrange(3))]
        if k % 2:
            command = [rng.choice(CONFIGURED)]
            sets += ["evaluator=random"] * (command == ["train-gan"])  # another one trains before its first use
            words = [*sets, *extra[: rng.randrange(3)]]
            # first, so that no "--" or flag with a value takes it
            words = [*command, rng.choice(["--dry-run", "--dry-run", "--cfg=job", "--cfg=schema", "--info"]), *words]
        else:
            words = [*rng.choice(READING), rng.choice(paths), *extra[: rng.randrange(3)], *sets[:1]]
        home = sorted(os.listdir(where / "p"))
        what = gate([word.replace("\0", "\\0") for word in words], (0, 1, 2))
        what = what or ("" if sorted(os.listdir(where / "p")) == home else "the folder of images was changed")
        return f"{words!r:.300}: {what}" if what else ""

    return trial


def trials() -> list[tuple[str, Trial]]:
    return [(f"call-{k}", bounded(one(k))) for k in range(500)]
