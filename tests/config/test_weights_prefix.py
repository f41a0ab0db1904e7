"""`weights.prefix=` becomes a part of `weights=`."""

import pytest

from gssl.config import arms
from gssl.config.label_use import of_weights
from gssl.config.overrides import rewritten
from gssl.errors import UsageError
from gssl.schemas.ready_made import without_prefix


@pytest.mark.parametrize("file", ["a.pth", "'a b.pth'", "timm:resnet18@a.pth"])
@pytest.mark.parametrize("first", [True, False])
def test_it_stands_behind_the_file(file, first) -> None:
    words = [f"weights={file}", "weights.prefix=net."]
    found = rewritten("transfer", [*(words if first else words[::-1]), "seed=1"])
    assert sorted(found) == sorted(["seed=1", f"weights='{file.strip(chr(39))}?prefix=net.'"])
    assert without_prefix(f"{file}?prefix=net.") == (file, "net.") and without_prefix(file) == (file, None)


@pytest.mark.parametrize("words", [["weights.prefix=a"], ["weights=a,b", "weights.prefix=c"]])
def test_alone_and_in_sweeps_it_is_refused(words) -> None:
    with pytest.raises(UsageError, match=r"weights.prefix=.*beside weights=FILE"):
        rewritten("transfer", words)


def test_label_use_is_that_of_the_file(tmp_path) -> None:
    (tmp_path / "w.safetensors").touch()
    (tmp_path / "w.json").write_text('{"schema": "gssl.weights/1", "labels_used": true}')
    assert of_weights(f"{tmp_path}/w.safetensors?prefix=net.") is True


def test_an_arm_may_have_one(tmp_path) -> None:
    for name in ("w2.pth", "w10.pth"):
        (tmp_path / name).touch()
    arm = arms.parse(f"theirs@{tmp_path}/w*.pth?prefix=net.")
    assert arm.paths() == [f"{tmp_path}/w2.pth?prefix=net.", f"{tmp_path}/w10.pth?prefix=net."]
    assert arms.parse(f"{tmp_path}/w2.pth?prefix=net.").name == "w2.pth"
