"""Overrides and YAML files of every form: one line, exit 2, at once, and nothing is made."""

import os
import time
from pathlib import Path

import pytest

from gssl.config.composing import check_all, compose
from gssl.errors import UsageError

GROUPS = ["ssl=null", "ssl=nan", "ssl=1", "ssl=true", "data@x=true", "hydra/launcher=1", "hydra/launcher=null"]
FORMS = [
    *GROUPS,
    "=1",
    "experiment=null",
    "engine=null",
    "hydra=null",
    "ssl.name=[]",
    "a." * 2000 + "b=1",
    "seed=" + "[" * 2000 + "]" * 2000,
    "seed=" + "{a:" * 500 + "1" + "}" * 500,
    "ssl.temperature=" + "[" * 300 + "]" * 300,
    "seed=18446744073709551616",
    "data.split_seed=18446744073709551616",
    "device=cuda:99999999999",
    "hydra.run.dir=",
    "hydra.run.dir=null",
    "hydra.run.dir=[]",
    "hydra.run.dir=${x:1}",
    "hydra.run.dir=" + "a" * 300,
    "hydra.run.dir=" + "a/" * 3000,
    "data.root='a\0b'",
    "engine.threads=99999999999",
    "hydra.searchpath=[file:///nope]",
]


@pytest.mark.parametrize("text", FORMS, ids=[text[:30].replace("\0", "0") for text in FORMS])
def test_an_override_of_any_form_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.process_time()
    with pytest.raises(UsageError) as found:
        check_all("pretrain-ssl", [text], False)
    assert time.process_time() - begun < 2
    assert "\n" not in str(found.value) and len(str(found.value)) < 500
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("text", GROUPS[:4])
def test_a_group_says_its_choices(text: str) -> None:
    with pytest.raises(UsageError, match="ssl: no choice.*simclr"):
        compose("pretrain-ssl", [text])


def test_an_empty_directory_of_a_sweep_is_none() -> None:
    with pytest.raises(UsageError, match="hydra.sweep.dir: expected a directory"):
        check_all("pretrain-ssl", ["hydra.sweep.dir=", "seed=1,2"], True)


def preset(folder: Path, text: str) -> list[str]:
    file = folder / "experiment" / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return ["experiment=mine"]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = {
    "aliases": BOMB,
    "itself": "a: &a [*a]\n",
    "deep": "a: " + "[" * 2000 + "]" * 2000 + "\n",
    "deep block": "".join("  " * i + f"k{i}: \n" for i in range(900)),
    "long": "# " + "x" * 2**21,
    "no YAML": "a: [\n",
    "bytes": "a: '\\ud800'\n\0",
    "list": "- 1\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_any_form_is_one_line(name: str, tmp_path: Path) -> None:
    begun = time.process_time()
    with pytest.raises(UsageError) as found:
        compose("pretrain-ssl", preset(tmp_path, "# @package _global_\n" + FILES[name]), str(tmp_path))
    assert time.process_time() - begun < 2
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("data", [b"a: [\n", b"a: 'b\n", b"a: \xff\n", b"a: \0\n", b"a:\n\tb: 1\n"])
def test_a_file_that_is_no_yaml_is_named(data: bytes, tmp_path: Path) -> None:
    texts = preset(tmp_path, "")
    (tmp_path / "experiment" / "mine.yaml").write_bytes(b"# @package _global_\n" + data)
    with pytest.raises(UsageError, match=r"mine.yaml.*no YAML|is not UTF-8"):
        compose("pretrain-ssl", texts, str(tmp_path))


def test_a_few_aliases_are_well(tmp_path: Path) -> None:
    text = "# @package _global_\nseed: &s 3\ndata:\n  split_seed: *s\n"
    assert compose("pretrain-ssl", preset(tmp_path, text), str(tmp_path)).data.split_seed == 3
