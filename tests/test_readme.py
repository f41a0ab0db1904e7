"""Every command of the README is run here, small, and every file it names is there.

The long commands behind measured results (blocks of `sh` in docs/) are composed only.
"""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from gssl.cli import app
from gssl.config.composing import check_all, compose
from gssl.engine.files import read_json
from gssl.nets.backbone import build_backbone
from tests.data.captioned import set_of_captioned
from tests.data.films import film, moving
from tests.nets import text_folders

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Names in the README that stand for something of the reader's; the fixture `folder` provides them.
RUN = "runs/pretrain_ssl/20260101-120000-000000"
CONDITIONAL = "runs/train_gan/20260101-120000-000000"  # of a class-conditional generator
COMPOSED = ("train-gan", "pretrain-ssl", "transfer", "curve", "compare")  # by Hydra
HYDRA = (*COMPOSED, "try")
REPORT = "runs/compare/20260101-120000-000000"  # the one that --explain reads


def in_blocks(text: str) -> list[str]:
    """Command lines of blocks of `bash`, without their comments and what they are piped into."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    joined = (re.sub(r"\s*\\\n\s*", " ", block) for block in blocks)
    lines = [re.split(r"  #| 2>&1| \| ", line)[0].strip() for block in joined for line in block.splitlines()]
    return [line for line in lines if line.startswith("gssl ")]


def commands() -> list[str]:
    """Command lines of the README, in code blocks and in tables, and those in code blocks of the reference pages."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    inline = re.findall(r"`(gssl [^`]+)`", README)
    there = [*in_blocks(README), *inline, *(line for page in pages for line in in_blocks(page))]
    return list(dict.fromkeys(re.sub(r"(?<=[=\[])RUN\b", RUN, line) for line in there))


def long_commands() -> list[tuple[str, str]]:
    """(file, command line) of blocks of `sh` in docs/, lines joined."""
    found = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        blocks = re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        found += [(path.name, line) for line in lines if line.startswith("gssl ")]
    return found


@pytest.mark.parametrize(("file", "line"), long_commands())
def test_long_commands_of_the_documents_compose(file, line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for run in ("runs/simclr", "runs/dcgan", "runs/supervised"):
        Path(run).mkdir(parents=True)
    _, command, *words = shlex.split(line, comments=True)
    if "-m" in words:  # a sweep: every choice of it
        if "optuna" in line:
            pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
        check_all(command, [word for word in words if word != "-m"], multirun=True)
    elif command in COMPOSED and not {"--explain", "--cfg"} & set(words):
        assert compose(command, words), file


def test_the_command_of_the_published_comparison_is_there():
    (line,) = [line for file, line in long_commands() if file == "cifar10_compare.md"]
    cfg = compose("compare", shlex.split(line)[2:])
    assert cfg.jobs == 2 and cfg.budget.flops == 2.5e12 and cfg.primary.pairs is None


def invoke(words: list[str]):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"gssl {shlex.join(words)}\n{result.output}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures, inline_worker):
    """A working directory with a run of each kind, and the reader's images."""
    root = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("gssl.comparison.execution.Worker", inline_worker)
        patch.setattr("gssl.metrics.tsne.ROUNDS", 250)  # of t-SNE: a map per network takes a second
        patch.setattr("gssl.metrics.classifier.STEPS", 4)  # the small classifier need not be good here
        invoke(["pretrain-ssl", "experiment=smoke", f"hydra.run.dir={RUN}"])
        invoke(["train-gan", "experiment=smoke", "hydra.run.dir=runs/gan"])
        invoke(["train-gan", "gan=acgan", "experiment=smoke", f"hydra.run.dir={CONDITIONAL}"])
        transfer = ["transfer", "experiment=smoke", "diagnose.pictures=false"]
        invoke([*transfer, "probe.use=[finetune]", "hydra.run.dir=runs/transfer/tuned"])
        for name in ("random", "pixels"):
            invoke([*transfer, f"weights={name}", f"hydra.run.dir=runs/transfer/{name}"])
        invoke(
            ["compare", "experiment=smoke", "arms=[simclr,random]", "labels_per_class=[10]", f"hydra.run.dir={REPORT}"]
        )
        shutil.copytree(pictures, root / "photos")
        shutil.copytree(pictures / "train" / "a", root / "unlabelled")
        scenes(root / "street")
        cells(root / "cells")
        tiles(root / "tiles")
        films(root / "films")
        facades(root / "facades")
        paired = ["gan=pix2pix", "data=paired", "data.root=facades", "data.size=16", "experiment=smoke"]
        invoke(["train-gan", *paired, "hydra.run.dir=runs/train_gan/PAIRS"])
        duskday(root / "duskday")
        unpaired = ["gan=cut", "data=unpaired", "data.root=duskday", "data.size=16", "experiment=smoke"]
        invoke(["train-gan", *unpaired, "gan.blocks=1", "hydra.run.dir=runs/train_gan/UNPAIRED"])
        sounds(root / "digits")
        set_of_captioned(root / "captioned")
        pairs = ["ssl=clip", "data=imagetext", "data.root=captioned", "experiment=smoke", "ssl.batch_size=12"]
        invoke(["pretrain-ssl", *pairs, "hydra.run.dir=runs/pairs"])
        small_gan = ["gan.width=4", "gan.batch_size=8", "backbone.width=8", "budget.steps=2", "evaluator=random"]
        invoke(["train-gan", "gan=specgan", "data=audio", "data.root=digits", *small_gan, "hydra.run.dir=SPECGAN"])
        invoke(["train-gan", "gan=wgan_gp", "experiment=smoke", "hydra.run.dir=runs/train_gan/B"])
        shutil.copytree("runs/gan", "runs/train_gan/A")
        for run in "AB":
            invoke(["sample", f"runs/train_gan/{run}", "-n", "60", "--files", "-o", "both"])
        kinds = [f"{['what', 'where', 'who'][i % 3]} is number {i} of them,{'abc'[i % 3]}" for i in range(90)]
        text_folders.folder(root / "bert", "bert")
        (root / "questions.csv").write_text("text,label\n" + "\n".join(kinds) + "\n")
        lines = ["data=text", "data.root=questions.csv", "data.tokenizer=char", "data.size=16", *small_gan[:-1]]
        invoke(["train-gan", "gan=textgan", *lines, "hydra.run.dir=TEXTGAN"])
        pairs = [f"{i} is red,red is {i + i % 2},{['same', 'other'][i % 2]}" for i in range(90)]
        phrases = [f"{['red', 'green'][i % 2]} {i},{['rot', 'grün'][i % 2]} {i}" for i in range(90)]
        (root / "phrases.csv").write_text("text,text_b\n" + "\n".join(phrases) + "\n", encoding="utf-8")
        own = ["ssl=seq2seq", "data=text", "data.root=phrases.csv", "experiment=smoke", "hydra.run.dir=runs/seq2seq"]
        invoke(["pretrain-ssl", *own])
        (root / "pairs.csv").write_text("text,text_b,label\n" + "\n".join(pairs) + "\n")
        # a pickle of somebody's student and teacher, under names that are theirs
        smoke = compose("transfer", ["experiment=smoke", "weights=random"])
        weights = build_backbone(smoke.backbone, smoke.data.side).state_dict()
        both = {f"{who}.net.{key}": value for who in ("student", "teacher") for key, value in weights.items()}
        torch.save(both, root / "theirs.pth")
        rows = [f"train/{c}/{i:03}.png,{c}" for c in "abc" for i in range(40)]
        (root / "photos" / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
        yield root


def scenes(root: Path) -> None:
    """Images with masks: a bright square on a dark ground."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.json").write_text('{"names": ["ground", "square"], "ignore": 255}')
    rng = np.random.default_rng(0)
    for i in range(30):
        mask = np.zeros((24, 32), np.uint8)
        y, x = rng.integers(0, 12), rng.integers(0, 20)
        mask[y : y + 12, x : x + 12] = 1
        pixels = (mask[..., None] * 150 + rng.integers(0, 60, (24, 32, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i:02}.png")


def cells(root: Path) -> None:
    """Images with boxes, as YOLO writes them: bright squares on a dark ground."""
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "data.yaml").write_text("names: [square]\n")
    rng = np.random.default_rng(0)
    for i in range(40):
        y, x = rng.integers(0, 12), rng.integers(0, 20)
        pixels = rng.integers(0, 60, (24, 32, 3))
        pixels[y : y + 12, x : x + 12] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{i:02}.png")
        (root / "labels" / f"{i:02}.txt").write_text(f"0 {(x + 6) / 32} {(y + 6) / 24} {12 / 32} {12 / 24}\n")


def tiles(root: Path) -> None:
    """Good images to learn from, and others with a dark spot to find."""
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 24), ("test/good", 10), ("test/spot", 10)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(120, 180, (32, 32, 3))
            mask = np.zeros((32, 32), np.uint8)
            if folder.endswith("spot"):
                mask[10:16, i : i + 6] = 255
                pixels[mask > 0] = 0
                (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / f"ground_truth/spot/{i:02}_mask.png")
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{i:02}.png")


def facades(root: Path) -> None:
    """Pairs side by side: a photo of noise in two colours, and where they are."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 10), ("test", 10)):
        (root / part).mkdir(parents=True)
        for i in range(count):
            ids = rng.integers(0, 2, (4, 4)).repeat(4, 0).repeat(4, 1)
            photo = np.array([[60, 120, 60], [200, 180, 90]])[ids] + rng.integers(-20, 20, (16, 16, 3))
            labels = np.array([[0, 0, 255], [255, 0, 0]])[ids]
            whole = np.concatenate([photo, labels], axis=1).astype(np.uint8)
            Image.fromarray(whole).save(root / part / f"{i:02}.png")


def duskday(root: Path) -> None:
    """Two domains: bright noise and dark noise."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 34), ("val", 10), ("test", 10)):
        for side, light in (("A", 150), ("B", 0)):
            (root / f"{part}{side}").mkdir(parents=True)
            for i in range(count):
                pixels = (rng.integers(0, 100, (5, 6, 3)) + light).repeat(4, 0).repeat(4, 1)
                Image.fromarray(pixels.astype(np.uint8)).save(root / f"{part}{side}" / f"{i:02}.png")


def films(root: Path) -> None:
    """Clips of a square that goes right or left, by twelve people."""
    for who in range(12):
        for word, step in (("left", -1), ("right", 1)):
            frames = moving(start=who, seed=who)[::step]
            film(root / word / f"{who:02}_{word}.mp4", frames)


def sounds(root: Path) -> None:
    """Low and high tones by six speakers, of the rate and length of spoken digits."""
    soundfile, rng = pytest.importorskip("soundfile"), np.random.default_rng(0)
    for i in range(48):
        path = root / ("low", "high")[i % 2] / f"s{i // 2 % 6}_{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.sin(2 * np.pi * (300, 1500)[i % 2] * np.arange(3000) / 8000) + 0.1 * rng.standard_normal(3000)
        soundfile.write(path, 0.3 * wave / np.abs(wave).max(), 8000)


def small(line: str) -> list[str]:
    """The words of a README line with its names filled in and its size cut down."""
    line = line.replace("gssl compare … --check", "gssl compare arms=[simclr,random] --check")
    line = line.replace("sources=[A,B,", "sources=[runs/train_gan/A,runs/train_gan/B,")
    words = shlex.split(line)[1:]
    command = words[0]
    runs = {"sample": "runs/gan", "evaluate": "runs/gan", "predict": "runs/transfer/tuned"}
    runs["retrieve"] = "runs/pairs"
    line = line.replace(f"weights={RUN} data=imagetext", "weights=runs/pairs data=imagetext")
    names = {"RUN": runs.get(command, RUN), "FOLDER": "photos", "runs/compare/RUN": REPORT}
    names |= {"RUN_SEQ2SEQ": "runs/seq2seq"}
    names |= dict.fromkeys(("new/", "new_photos"), "unlabelled")
    words = [names.get(word, word) for word in words]
    if "--files" in words:  # `both` is there already
        words = ["60" if word == "2000" else word if word != "both" else "more" for word in words]
    if command not in HYDRA or {"--cfg", "--explain"} & set(words):
        return words
    words = [word for word in words if not word.startswith(("budget.", "data.size="))]
    if "--minutes" in words:  # smoke has a budget
        at = words.index("--minutes")
        del words[at : at + 2]
    if not any(word.startswith("runs=") for word in words):
        words.append("experiment=smoke")
    if "efficientnet" in line and command != "pretrain-ssl":  # its own size takes minutes
        words.append("probe.sizes=[data]")
    if "data=paired" in words:
        words.append("data.size=16")
    if "data=unpaired" in words:
        words += ["data.size=16", "gan.blocks=1", "gan.width=4"]
    if "data=detection" in words:
        words += ["probe.detect.steps=5", "data.size=[48,64]", "data.folds=2", "draws=1"]
    if "hf:bert" in line:  # a small one, of 24 positions
        words += ["data.size=16", "probe.use=[linear]"]
    if command == "transfer":  # pictures take seconds
        words.append("diagnose.pictures=false")
    if command in ("compare", "try") and not any(word.startswith("runs=") for word in words):
        own = [word for word in words if word.startswith("labels_per_class=")]
        words = [word for word in words if not word.startswith("seeds=")] + ["seeds=1", "labels_per_class=[5,10]"]
        if "data=imagefolder" in words or "photos/" in words:
            words += ["arms=[random,pixels]", *(own or ["labels_per_class=[5]"])]
        if "data=audio" in words:
            words = [word for word in words if word != "experiment=smoke"]  # whose methods are of images
            words += [
                "arms=[simclr,mfcc,random]",
                "budget.steps=2",
                "backbone.width=8",
                "probe.use=[linear]",
                "draws=2",
            ]
        if "data=text" in words:
            words = [word for word in words if word != "experiment=smoke"]  # whose methods are of images
            ready = ["hf:bert"] if "hf:bert" in line else []
            words += [
                f"arms=[{','.join([*ready, 'mlm', 'tfidf'])}]",
                "budget.steps=3",
                "labels_per_class=[5]",
                "draws=2",
                "probe.use=[linear]",
            ]
        if "data=segmentation" in words:
            words += ["arms=[random,position]", "images_labelled=[3]", "probe.use=[segment]"]
        if {"data=detection", "data=anomaly", "data=video"} & set(words):  # their labels are counted in images
            words = [word for word in words if not word.startswith("labels_per_class=")]
            words += ["arms=[random,pixels]", "fractions=[1.0]", "images_labelled=[]"]
            probes = {"data=detection": "detect", "data=anomaly": "anomaly", "data=video": "action_mean"}
            words += [f"probe.use=[{probe}]" for data, probe in probes.items() if data in words]
            words += ["data.folds=2"] if "data=video" in words else []
    return words


def test_the_lists_are_not_empty_and_the_readme_is_short():
    assert "@@" not in README and len(README.splitlines()) <= 150
    assert len(commands()) >= 12
    assert all("  " not in line for line in commands())


@pytest.mark.parametrize("line", commands())
def test_every_key_and_option_is_there(line, monkeypatch, tmp_path):
    """Quick: what is typed composes, and commands have the options. `test_every_command_runs` is the long one."""
    monkeypatch.chdir(tmp_path)
    Path(RUN).mkdir(parents=True)
    if "bert/" in line:
        text_folders.folder(Path("bert"), "bert")
    words = shlex.split(line)[1:]
    command, name = get_command(app), words[0]
    while hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    options = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options | {"--help"}
    if name in COMPOSED:
        sweep = re.compile(r"[^\[]*,")  # `-m key=1,2`: several compositions
        keys = [word for word in words if re.match(r"[\w./]+=", word) and not ("-m" in words and sweep.match(word))]
        needed = {"transfer": ["weights=random"], "curve": ["sources=[random]"]}.get(name, [])
        assert compose(name, [*needed, *keys])


@pytest.mark.long
@pytest.mark.parametrize("line", commands())
def test_every_command_runs(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = small(line)
    if "--explain" in words:  # else the newest report is that of another line
        Path(REPORT, "report.json").touch()
    claim = "--check" in words
    if claim:  # whether the claim holds after six steps is open: it is read and computed
        result = CliRunner().invoke(app, words)
        assert result.exit_code in (0, 1) and "simclr.linear@10" in result.stderr, result.stderr
    elif words[0] in ("compare", "try") and not {"--plan", "--explain"} & set(words):
        result = invoke(words)
        page = Path(re.search(r"(\S+report\.html)", result.output).group(1))
        assert page.stat().st_size > 10_000
        assert read_json(page.with_name("status.json"))["state"] == "finished"
    elif words[0] == "convert" and "--trust" not in words:  # it says what would run, and runs nothing
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2 and "_rebuild_tensor_v2" in result.stderr
    else:
        invoke(words)


def test_every_file_it_names_exists():
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_make_targets_exist():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in {
        *re.findall(r"`?make ([a-z-]+)", README),
        *re.findall(r"make ([a-z-]+)", (ROOT / ".ci/run").read_text()),
    }:
        assert re.search(rf"^{target}:", text, re.M), target
