"""Label use travels with weights: runs, chains, checkpoints, files, and what older versions wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from gssl.config import arms, label_use


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def run(path: Path, method: str = "simclr", text: str = "weights: random\n", **result: Any) -> Path:
    """A training run as it lies on the disk; result None: it is not finished."""
    family = "gan" if "gan" in method else "ssl"
    write(path / "status.json", {"command": {"gan": "train-gan", "ssl": "pretrain-ssl"}[family]})
    own = text if text.startswith(family) else f"{family}: {{name: {method}}}\n{text}"
    (path / "config.yaml").write_text(own)
    if result.pop("finished", True):
        write(path / "result.json", {"method": method, "source": {"kind": "random", "path": None}, **result})
    write(path / "weights" / "backbone.json", {"schema": "gssl.weights/1", "method": method, "sha256": path.name})
    (path / "weights" / "backbone.safetensors").write_bytes(b"")
    write(path / "checkpoints" / "step-4" / "manifest.json", {})
    return path


@pytest.mark.parametrize("place", ["", "weights/backbone.safetensors", "checkpoints/step-4"])
def test_a_supervised_run_has_read_labels_whatever_is_taken_of_it(tmp_path: Path, place: str) -> None:
    for n, more in enumerate(({"labels_used": True}, {}, {"finished": False})):
        assert label_use.of_path(run(tmp_path / f"sup{n}", "supervised", **more) / place) is True
    assert label_use.of_path(run(tmp_path / "own", "simclr", labels_used=False) / place) is False


def test_a_gan_that_is_told_classes_by_an_override_reads_labels(tmp_path: Path) -> None:
    for n, (key, reads) in enumerate(
        {"condition: projection": True, "class_d: 0.5": True, "class_d: 0.0": False}.items()
    ):
        made = run(tmp_path / f"{n}", "dcgan", f"gan: {{name: dcgan, {key}}}\nweights: random\n", finished=False)
        assert label_use.of_path(made / "checkpoints" / "step-4") is reads


def test_what_is_trained_on_from_them_has_read_them_too(tmp_path: Path) -> None:
    first = run(tmp_path / "first", "supervised", labels_used=True)
    old = {"labels_used": False, "source": {"kind": "run", "path": str(first), "method": "supervised"}}  # own use only
    second = run(tmp_path / "second", **old)
    third = run(tmp_path / "third", finished=False, text=f"weights: {second}/weights/backbone.safetensors\n")
    fourth = run(tmp_path / "fourth", labels_used=False, generated={"run": str(first), "labels_used": True})
    for made in (second, third, fourth, fourth / "weights" / "backbone.safetensors", third / "checkpoints" / "step-4"):
        assert label_use.of_path(made) is True
    # a record that says it needs no ancestor that is still there
    kept = {"kind": "run", "path": "gone", "method": "simclr", "labels_used": True}
    assert label_use.of_path(run(tmp_path / "kept", labels_used=False, source=kept)) is True
    assert label_use.of_path(run(tmp_path / "clean", labels_used=False, source=kept | {"labels_used": False})) is False


def test_a_copied_file_says_it_by_what_lies_beside_it(tmp_path: Path) -> None:
    def file(name: str, text: dict[str, Any] | None) -> Path:
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
        if text is not None:
            write(tmp_path / f"{name}.json", text)
        return tmp_path / f"{name}.safetensors"

    weights = {"schema": "gssl.weights/1", "method": "simclr"}
    assert label_use.of_path(file("new", weights | {"labels_used": True})) is True  # what it began with had read them
    assert label_use.of_path(file("clean", weights | {"labels_used": False})) is False
    assert label_use.of_path(file("old", weights)) is False
    assert label_use.of_path(file("older", weights | {"method": "supcon"})) is True
    assert label_use.of_path(file("tuned", {"schema": "gssl.finetuned/1"})) is True
    assert label_use.of_path(file("unsure", weights | {"labels_used": None})) is None
    assert label_use.of_path(file("foreign", None)) is None
    assert label_use.of_path(run(tmp_path / "unsure", labels_used=None)) is None
    foreign = {"kind": "file", "path": str(tmp_path / "foreign.safetensors"), "method": None}
    assert label_use.of_path(run(tmp_path / "more", labels_used=False, source=foreign)) is None


def test_an_arm_is_known_before_anything_runs(tmp_path: Path) -> None:
    def reads(text: str, *overrides: str) -> bool | None:
        def composed(method: str, given: Any) -> dict[str, Any]:
            return {"name": method, **dict(pair.removeprefix("gan.").split("=") for pair in given)}

        return label_use.of_arm(arms.parse(text), composed, [lambda method: overrides])

    assert reads("simclr") is False and reads("supervised") is True and reads("scratch") is False
    assert reads("dcgan", "gan.condition=projection") is True and reads("dcgan", "gan.condition=none") is False
    assert reads(f"mine@{run(tmp_path / 'sup', 'supervised')}/weights/backbone.safetensors") is True
    assert reads(f"mine@{run(tmp_path / 'own')}") is False
    (tmp_path / "x.pth").write_bytes(b"")
    assert reads(f"mine@{tmp_path}/x.pth") is None and reads(f"it@timm:resnet10t@{tmp_path}/x.pth") is None
    assert all(reads(name) is False for name in arms.FIXED)  # controls bring no weights that could have read any
    assert reads("torchvision:resnet18") is False and reads("timm:resnet10t") is False  # ImageNet's are not ours


def test_what_a_reader_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"")
    about = arms.described(arms.parse(f"mine@{tmp_path}/x.pth"), [], None)
    assert about["labels"] is None and "whether it read labels is not on record" in about["note"]
    assert "none of this data's" in arms.described(arms.parse("torchvision:resnet18"), [], False)["note"]
    about = arms.described(arms.parse("dcgan"), ["gan.condition=projection"], True)
    assert about["labels"] is True and "has read the labels of all training images" in about["note"]


@pytest.mark.parametrize("name", ["result.json", "config.yaml"])
@pytest.mark.parametrize("text", ["", "[", "3", "\x00", "[" * 5000])
def test_what_a_damaged_document_said_is_not_on_record(tmp_path, name, text):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("ssl: {name: simclr}\nweights: random\n")
    (run / "result.json").write_text('{"schema": "gssl.result/2", "labels_used": false}')
    (run / name).write_text(text)
    assert label_use.of_path(run) in ((None, False) if (name, text) == ("config.yaml", "") else (None,))
