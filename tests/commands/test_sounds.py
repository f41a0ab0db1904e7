"""Sounds from pretraining to scores: by the commands, with speakers apart; and what does not go is a line."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gssl.commands import compare, embed, export, pretrain_ssl, transfer
from gssl.config import registry
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError

soundfile = pytest.importorskip("soundfile")
FEW = [
    "engine.threads=1",
    "engine.device=cpu",
    "engine.progress=false",
    "data.seconds=0.3",
    "data.size=16",
    "data.test=split",
]
NARROW = ["backbone.width=8"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high tones by six speakers, whose tones differ."""
    where, rng = tmp_path_factory.mktemp("speakers"), np.random.default_rng(0)
    for i in range(72):
        path = where / ("low", "high")[i % 2] / f"s{i // 2 % 6}_{i}.wav"
        path.parent.mkdir(exist_ok=True)
        hertz = (300, 1500)[i % 2] * (1 + 0.05 * (i // 2 % 3))
        wave = np.sin(2 * np.pi * hertz * np.arange(2000) / 8000) + 0.1 * rng.standard_normal(2000)
        soundfile.write(path, 0.3 * wave / np.abs(wave).max(), 8000)
    names = sorted(p.relative_to(where) for p in where.rglob("*.wav"))
    rows = [f"{n},{n.parts[0]},{int(n.stem.split('_')[1]) // 2 % 6}" for n in names]
    (where / "labels.csv").write_text("path,label,group\n" + "\n".join(rows))
    return where


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("sounds")
    words = ["data=audio", f"data.root={root}", *FEW, *NARROW, "ssl.batch_size=8", "budget.steps=2"]
    pretrain_ssl.main(compose("pretrain-ssl", words), where / "run")
    return where / "run"


def test_pretraining_writes_what_the_network_reads(run: Path) -> None:
    text = read_json(run / "weights" / "backbone.json")
    assert text["backbone"]["hop_ms"] == 20 and text["input"]["rate"] == 8000 and text["input"]["bands"] == 16
    assert text["input"]["std"] > 0
    result = read_json(run / "result.json")
    assert result["spent"]["flops"] > 0 and result["data"]["columns"] == ["label", "audio"]


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, entry in registry.SSL.items() if entry.sounds])
def test_every_method_of_spectrograms_learns_by_its_name_alone(name: str, root: Path, tmp_path: Path) -> None:
    words = ["data=audio", f"data.root={root}", *FEW, f"ssl={name}", "ssl.batch_size=8", "budget.steps=2"]
    pretrain_ssl.main(compose("pretrain-ssl", words), tmp_path / "run")
    assert np.isfinite(read_json(tmp_path / "run" / "result.json")["objective"]["value"])


def test_transfer_scores_unheard_speakers(root: Path, run: Path, tmp_path: Path) -> None:
    words = ["data=audio", f"data.root={root}", *FEW, f"weights={run}", "labels_per_class=[1,4]", "draws=2"]
    words += [
        "probe.use=[knn,linear,finetune]",
        "probe.finetune.steps=2",
        "draws_one_shot=2",
        "probe.finetune.lrs=[0.001]",
    ]
    transfer.main(compose("transfer", words), tmp_path / "t")
    result = read_json(tmp_path / "t" / "result.json")
    assert {score["probe"] for score in result["scores"]} == {"knn", "linear", "finetune"}
    assert all(score["task"] == "audio" for score in result["scores"])
    with np.load(tmp_path / "t" / "predictions.npz") as file:
        assert len(np.unique(file["groups"])) == result["data"]["test_groups"] < 6
    assert result["load_report"]["input"]["rate"] == 8000


def test_folds_that_choose_tear_no_speaker(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[tuple[np.ndarray, Any]]] = {"linear": [], "knn": [], "fewshot": []}

    for name, own in seen.items():
        module = importlib.import_module(f"gssl.probe.{name}")

        def told(y: np.ndarray, groups: Any, seed: int, own: Any = own, folds: Any = module.clip_folds) -> Any:
            found = folds(y, groups, seed)
            own.append((groups, found))
            return found

        monkeypatch.setattr(module, "clip_folds", told)
    words = ["data=audio", f"data.root={root}", *FEW, "weights=mel_stats", f"probe.use=[{','.join(seen)}]"]
    words += ["labels_per_class=[10]", "fractions=[]", "draws=1", "probe.fewshot.shots=[5]"]
    transfer.main(compose("transfer", words), tmp_path / "t")
    for own in seen.values():
        assert any(folds for _, folds in own)
        for groups, folds in own:
            assert all(not set(groups[fit]) & set(groups[val]) for fit, val in folds)


def test_another_rate_than_the_network_learned_is_refused(root: Path, run: Path, tmp_path: Path) -> None:
    words = ["data=audio", f"data.root={root}", *FEW, f"weights={run}", "data.rate=4000"]
    with pytest.raises(UsageError, match="learned from sounds of 8,000 Hz, and these have 4,000; set data.rate=8000"):
        transfer.main(compose("transfer", words), tmp_path / "t")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["ssl=rotation"], "ssl=rotation learns from images, and data=audio brings audio and label; use ssl=simclr or"),
        (["ssl=mlm", "backbone=convnet"], "ssl=mlm learns from texts, and data=audio brings"),
        (["backbone=text_small"], "backbone=text_small: reads texts, and data=audio brings sounds"),
        (["backbone=timm", "backbone.name=timm:vit_tiny_patch16_224"], "reads images of three colours"),
        (["data.tokenizer=byte"], "data.tokenizer is for data=text; audio has no texts"),
    ],
)
def test_what_does_not_fit_is_a_line(words: list[str], text: str) -> None:
    with pytest.raises(UsageError) as error:
        compose("pretrain-ssl", ["data=audio", "data.root=/nowhere", *words])
    assert text in str(error.value) and "\n" not in str(error.value)


def test_commands_of_images_say_so(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its network reads sounds; give a run whose network reads images"):
        embed.embed(run, tmp_path, tmp_path / "x.npz")
    with pytest.raises(UsageError, match="--to onnx: of images only; a network of sounds is written with --to safe"):
        export.export(run, tmp_path / "model", "onnx")
    assert Path(export.export(run, tmp_path / "m.safetensors", "safetensors")["file"]).is_file()


@pytest.mark.long
def test_a_comparison_with_controls(root: Path, tmp_path: Path) -> None:
    words = ["data=audio", f"data.root={root}", *FEW, *NARROW, "seeds=1", "budget.steps=2", "labels_per_class=[4]"]
    words += [
        "arms=[simclr,specgan,scratch,random,mfcc,loudness,pixels,majority]",
        "probe.use=[linear,finetune]",
        "draws=1",
        "generation.evaluator=random",
    ]
    words += [
        "probe.finetune.steps=2",
        "probe.finetune.lrs=[0.001]",
        "eval.milestones=0",
        f"parts={tmp_path / 'parts'}",
    ]
    words += [
        "overrides={simclr: ['ssl.batch_size=8'], specgan: ['gan.batch_size=8']}",
        "model=false",
        "classical.mfcc.coefficients=10",
    ]
    compare.main(compose("compare", words), tmp_path / "c")
    report = read_json(tmp_path / "c" / "report.json")
    assert {arm["name"] for arm in report["arms"]} >= {"simclr", "specgan", "mfcc", "loudness"}
    (evaluation,) = (tmp_path / "parts").glob("specgan-s0-evaluate-*/evaluation.json")
    assert set(read_json(evaluation)["sounds"]["features"]) == {"generated", "real", "codec", "untrained", "means"}
