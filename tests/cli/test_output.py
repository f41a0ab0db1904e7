"""What is printed: nothing in a name reaches a terminal as a command, and what nobody foresaw is one line."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gssl import cli
from gssl.cli import output

EVIL = "a\x1b[31mb\x07\x9b2J\u202ec\nd"


def stream(monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> io.BytesIO:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    output.escape_streams()
    return raw


def test_streams_escape_names_and_keep_lines_and_what_rich_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = stream(monkeypatch)
    print(EVIL)
    print("\r 50%", end="")
    Console(force_terminal=True, color_system="standard").print("[red]bar[/red]")
    text = raw.getvalue().decode()
    assert r"a\x1b[31mb\x07\x9b2J\u202ec" in text
    assert "\nd\n" in text
    assert "\r 50%" in text
    assert "\x1b[31mbar" in text


def test_lines_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    output.tell(EVIL)
    output.say(EVIL)
    output.table([EVIL], [[EVIL]])
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert err.count("\n") == 1
    assert out.splitlines()[0].endswith(r"c\nd")


def test_an_error_keeps_both_ends_of_a_long_path_and_all_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    whole = "/photos/" + "a" * 300
    output.say(f"error: data.root: /first{'a' * 5000}/last is not a folder; {whole} is")
    line = capsys.readouterr().err
    assert line.startswith("error: data.root: /firsta") and f"a/last is not a folder; {whole} is" in line
    assert len(line) < 800 and "a…a" in line
    output.say("a" * 5000)  # a note may be an address to be copied
    assert len(capsys.readouterr().err) == 5001


@pytest.mark.parametrize(
    ("key", "letters"), [("data=imagefolder data.root", 300), ("weights", 5000), ("--config-dir", 5000)]
)
def test_a_path_longer_than_disks_take_is_refused_in_a_short_line(
    key: str, letters: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sign = " " if key.startswith("--") else "="
    words = f"transfer {key}{sign}{'x' * letters} --dry-run"
    monkeypatch.setattr(sys, "argv", ["gssl", *words.split()])
    with pytest.raises(SystemExit) as end:
        cli.run()
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.count("\n") == 1 and len(err) < 700
    assert err.endswith("a path has 4000 bytes at most, and 255 between slashes; choose a shorter one\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_documents_are_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = stream(monkeypatch, encoding)
    value = {"name": EVIL, "é": "\udce9 日本"}
    output.emit(value)
    text = raw.getvalue().decode(encoding)
    assert json.loads(text) == value
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_letters_that_the_locale_lacks_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = stream(monkeypatch, "ascii")
    print("é · ±")
    assert raw.getvalue() == b"\\xe9 \\xb7 \\xb1\n"


def test_what_nobody_foresaw_is_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(**_: object) -> None:
        raise ZeroDivisionError("a\nb\x1b[31m")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "app", breaks)
    with pytest.raises(SystemExit) as end:
        cli.run()
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ZeroDivisionError: a b") and err.count("\n") == 1 and "\x1b" not in err
    (file,) = tmp_path.iterdir()
    assert str(file) in err and "Traceback" in file.read_text(encoding="utf-8")


@pytest.mark.long
def test_the_c_locale_prints_every_name(tmp_path: Path) -> None:
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for words in (["--help"], ["runs", "list", "é\x1b[31m"], ["transfer", "weights=é"], ["doctor"]):
        done = subprocess.run([sys.executable, "-m", "gssl", *words], capture_output=True, env=env, cwd=tmp_path)
        assert done.returncode in (0, 2), words
        assert b"Traceback" not in done.stderr + done.stdout and b"\x1b" not in done.stderr + done.stdout
