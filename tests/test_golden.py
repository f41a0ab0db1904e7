"""Golden values: what commands compute, to the bit, so that a change that should change nothing is held to it.

`tests/golden/values.json` has hashes of the backbones that every recipe trains and of the predictions of transfer runs,
and the numbers of a small comparison. They hold for one processor and one set of library versions, which stand there;
elsewhere these tests are skipped, and the property at the end remains. Only the command line and the files that it
leaves are used. `python tests/test_golden.py --write` records the values again: say in the commit why they changed.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
VALUES = Path(__file__).parent / "golden" / "values.json"

pytestmark = pytest.mark.long


# ── the commands ─────────────────────────────────────────────────────────────────────────────────


words = str.split


SSL = words("""barlow_twins byol colorization denoising dino ijepa inpainting jigsaw lejepa mae moco nnclr rotation
relative_location simclr simmim simsiam supcon supervised swav vae vicreg distill""")
GAN = words("acgan bigan dcgan lsgan projection r3gan sagan sngan ssgan wgan_gp")
VIT = {"ijepa", "lejepa", "mae", "simmim"}  # their backbone's width is a multiple of 12

ONE = words("engine.threads=1 engine.device=cpu engine.progress=false")
DIGITS = words("data=mnist5k data.limit=400")  # 400 images: 30 steps of 16 go past the end of an epoch
COLOURS = words("data=imagefolder data.root=colours data.size=28 data.test=split")
TRAIN = [*ONE, *words("budget.steps=30 eval.images=50 seed=3")]
PROBING = words("""labels_per_class=[1,10] fractions=[] draws=2 draws_one_shot=2 probe.linear.l2_count=3
probe.finetune.steps=6 probe.finetune.batch_size=16 probe.finetune.lrs=[0.001] probe.finetune.folds=2
probe.finetune.points=2""")
FEW = words("""diagnose.pictures=false probe.fewshot.shots=[1,5] probe.fewshot.draws=3 probe.fixmatch.steps=4
probe.fixmatch.batch_size=8 probe.fixmatch.lrs=[0.001] probe.cluster.n_init=2 classical.kmeans.centres=32
classical.kmeans.patches=4000 classical.kmeans.iterations=5""")
PROBES = "probe.use=[knn,linear,finetune,adapted,fewshot]"
MORE = "probe.use=[knn,linear,fixmatch,linear_multilayer,cluster]"
CLASSICAL = "probe.use=[knn,linear,adapted]"


def ssl(name: str, *more: str, data: list[str] = DIGITS) -> list[str]:
    width = 12 if name in VIT else 8
    return [*words(f"pretrain-ssl ssl={name} backbone.width={width} ssl.batch_size=16"), *data, *TRAIN, *more]


def gan(name: str, *more: str) -> list[str]:
    own = words(f"train-gan gan={name} backbone.width=8 gan.batch_size=16 evaluator=random export=last")
    return [*own, *DIGITS, *TRAIN, *more]


def transfer(source: str, *more: str) -> list[str]:
    return [*words(f"transfer weights={source} backbone.width=8 seed=3"), *DIGITS, *ONE, *PROBING, *FEW, *more]


# runs/NAME is another of them, which runs first
JOBS = {name: ssl(name, data=COLOURS if name == "colorization" else DIGITS) for name in SSL}
JOBS["distill"] = ssl("distill", "ssl.teacher=runs/simclr", "backbone.width=4")
JOBS |= {name: gan(name) for name in GAN}
JOBS |= {
    # what no recipe does of its own accord
    "simclr on colours": ssl("simclr", data=COLOURS),
    "simclr with LARS": ssl("simclr", "ssl.optim.name=lars", "engine.accumulate=2", "backbone.norm=group"),
    "dcgan with more": gan("dcgan", "gan.generator=resnet", "gan.augment=diffaugment", "gan.lecam=0.3"),
    "simclr from dcgan": ssl("simclr", "weights=runs/dcgan"),
    "simclr on generated": ssl("simclr", "generated.run=runs/dcgan", "generated.images=100"),
    "dcgan from simclr": gan("dcgan", "weights=runs/simclr"),
}
TRAINED = list(JOBS)
JOBS |= {f"transfer {name}": transfer(f"runs/{name}", PROBES) for name in ("simclr", "dcgan", "mae")}
JOBS |= {f"transfer {name}": transfer(name, CLASSICAL) for name in ("pixels", "pca", "kmeans", "majority")}
JOBS |= {
    "transfer random": transfer("random", PROBES),
    "transfer simclr, more probes": transfer("runs/simclr", MORE),
    "transfer with generated": transfer("runs/simclr", "probe.use=[linear]", "generated.run=runs/acgan"),
}
PROBED = [name for name in JOBS if name not in TRAINED]
COMPARE = words("""compare arms=[simclr,dcgan,scratch,random,pixels,majority] seeds=2 backbone.width=8 budget.steps=6
eval.images=50 eval.milestones=1 generation.evaluator=random generation.images=50 parts=parts
probe.use=[adapted,linear,finetune,knn] +overrides.simclr=['ssl.batch_size=32']
+overrides.dcgan=['gan.batch_size=16','evaluator=random']""")
COMPARE += [*DIGITS, *ONE, *PROBING]


# ── running them ─────────────────────────────────────────────────────────────────────────────────

# Importing torch takes seconds, so one process runs many commands; its answers are exit codes, line by line.
WORKER = """
import json, os, sys
from gssl.cli import run
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    sys.argv = ["gssl", *json.loads(line)]
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code
    print(code, file=answers, flush=True)
"""


class Runner:
    """Runs commands in a folder of its own, each once, after what it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draw_colours(folder / "colours")
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GSSL_CACHE": str(folder / "cache")}
        self.log = (folder / "log.txt").open("w")
        env, pipe = {**os.environ, **own}, subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=folder, env=env, text=True, stdin=pipe, stdout=pipe, stderr=self.log
        )

    def run(self, name: str, job: list[str]) -> Path:
        """Its run directory."""
        home = self.folder / "runs" / name
        if not home.exists():
            for other in re.findall(r"=runs/(\w+)", " ".join(job)):
                self.run(other, JOBS[other])
            assert self.process.stdin and self.process.stdout
            self.process.stdin.write(json.dumps([*job, f"hydra.run.dir='runs/{name}'"]) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
            told = (self.folder / "log.txt").read_text()[-1500:]
            assert answer == "0", f"gssl {' '.join(job)}: {answer or 'the process died'}\n{told}"
        return home

    def value(self, name: str, job: list[str] | None = None) -> str:
        """The hash of what a job computes: of its weights or of its predictions."""
        job = job or JOBS[name]
        home = self.run(name, job)
        if job[0] == "transfer":
            return hash_arrays(home / "predictions.npz")
        return hashlib.sha256((home / "weights" / "backbone.safetensors").read_bytes()).hexdigest()

    def close(self) -> None:
        with self.process:
            self.process.kill()
        self.log.close()


def draw_colours(root: Path) -> None:
    """Three classes of 40 pictures: noise with a coloured square, whose place is the class."""
    rng = np.random.default_rng(0)
    for place, name in enumerate("abc"):
        (root / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 90, (28, 28, 3))
            pixels[8 * place :][:10, 8:20] += rng.integers(40, 160, 3)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i:02}.png")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def hash_arrays(path: Path) -> str:
    """Of the arrays of a .npz file, for the file itself has times in it."""
    found = hashlib.sha256()
    with np.load(path) as arrays:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            found.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()


COUNTED = ("flops", "images", "steps")  # of costs; the others are measured


def numbers_of(report: dict[str, Any]) -> dict[str, Any]:
    """What a comparison found, as lists, so that a report with other names for it can be read here as well."""

    def span(interval: dict[str, Any] | None) -> list[Any]:
        return [interval["low"], interval["high"]] if interval else [None, None]

    def row(r: dict[str, Any], *names: str) -> list[Any]:
        seeds = [[int(seed), value] for seed, value in r["per_seed"].items()]
        return [*(r[name] for name in names), r["mean"], *span(r["interval"]), sorted(seeds)]

    verdict = report["verdict"]
    found = {
        # arm, probe, label budget, mean, low, high, [seed, value] …
        "table": [row(r, "arm", "probe", "label_budget") for r in report["table"]],
        # a, b, probe, label budget, mean, low, high, [seed, value] …, p, adjusted p, simultaneous low and high
        "differences": [
            [*row(d, "a", "b", "probe", "label_budget"), d["p"], d["p_adjusted"], *span(d["simultaneous"])]
            for d in report["differences"]
        ],
        "generation": [row(r, "arm", "metric") for r in report["generation"]],
        "cost": [[c["arm"], c["metric"], c["mean"]] for c in report["cost"] if c["metric"] in COUNTED],
        "verdict": [verdict["answer"], verdict["headline"], *verdict["sentences"]],
    }
    return {name: rows if name == "verdict" else sorted(rows, key=str) for name, rows in rounded(found).items()}


def rounded(value: Any) -> Any:
    """To ten digits: sums in another order are no other result."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def environment() -> dict[str, str]:
    """What the values hold for."""
    import torch

    info = Path("/proc/cpuinfo")
    fields = dict(re.findall(r"^(.+?)\s*: (.*)$", info.read_text() if info.exists() else "", re.MULTILINE))
    cpu = [fields.get(name, "?") for name in ("model name", "cpu family", "model")]
    libraries = ("torchvision", "numpy", "scipy", "scikit-learn", "pillow")
    found = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    return found | {"cpu": "{}, family {}, model {}".format(*cpu)} | {name: version(name) for name in libraries}


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with closing(Runner(tmp_path_factory.mktemp("golden"))) as runner:
        yield runner


@pytest.fixture(scope="module")
def golden():
    found, here = read(VALUES), environment()
    there = found["environment"]
    other = [f"{name} {there[name]} (here {here[name]})" for name in there if there[name] != here[name]]
    if other:
        pytest.skip("golden values are those of " + ", ".join(other))
    return found


def test_every_recipe_has_a_value():
    from gssl.config import registry

    for family, names in (("ssl", SSL), ("gan", GAN)):
        every = {path.stem for path in (ROOT / "conf" / family).glob("*.yaml")}
        assert set(names) == {
            name for name in every if registry.FAMILIES[family][name].column == "image"
        }  # digits are no films and no texts
    found = read(VALUES)
    assert list(found["backbones"]) == TRAINED and list(found["predictions"]) == PROBED


@pytest.mark.parametrize("name", TRAINED)
def test_a_backbone_is_what_it_was(runner, golden, name):
    assert runner.value(name) == golden["backbones"][name]


@pytest.mark.parametrize("name", PROBED)
def test_predictions_are_what_they_were(runner, golden, name):
    assert runner.value(name) == golden["predictions"][name]


@pytest.mark.parametrize("part", ["table", "differences", "generation", "cost", "verdict"])
def test_a_comparison_finds_what_it_found(runner, golden, part):
    report = read(runner.run("compare", COMPARE) / "report.json")
    assert numbers_of(report)[part] == golden["comparison"][part]


def test_results_do_not_depend_on_what_ran_before_but_on_the_seed(runner, tmp_path):
    """Another process, which does the same commands in another order and no others; on every machine."""
    names = ("transfer dcgan", "dcgan", "simclr", "mae")
    first = {name: runner.value(name) for name in sorted(names)}
    with closing(Runner(tmp_path)) as other:
        assert {name: other.value(name) for name in names} == first
        for name in ("simclr", "dcgan", "transfer random"):
            job = [text.replace("seed=3", "seed=4") for text in JOBS[name]]
            assert other.value(f"{name} 4", job) != runner.value(name)


def write() -> None:
    """Run everything and record it."""
    found: dict[str, Any] = {"environment": environment()}
    with tempfile.TemporaryDirectory() as folder, closing(Runner(Path(folder))) as runner:
        found["backbones"] = {name: runner.value(name) for name in TRAINED}
        found["predictions"] = {name: runner.value(name) for name in PROBED}
        found["comparison"] = numbers_of(read(runner.run("compare", COMPARE) / "report.json"))
    text = json.dumps(found, indent=1)
    text = re.sub(r"\n {4,}| *\n {3}(?=\])", " ", text)  # a row of numbers on a line
    VALUES.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_golden.py --write")
    write()
