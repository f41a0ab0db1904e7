"""scripts/bench/vit.py: a network that cannot be measured costs its row and no other."""

import json
import sys

import pytest

from scripts.bench import vit

SMALL = ["vit.py", "--sizes", "32", "--batch", "2", "--steps", "1"]
WHY = "has no blocks that can be computed twice"


def test_a_network_without_checkpointing_ends_in_order(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [*SMALL, "--names", "convnet", "--again", "yes", "--one"])
    vit.main()
    assert WHY in json.loads(capsys.readouterr().out)["refused"]


@pytest.mark.long
def test_it_has_the_reason_in_its_row(monkeypatch, capsys):
    pytest.importorskip("timm")
    monkeypatch.setattr(sys, "argv", [*SMALL, "--names", "timm:test_resnet"])
    vit.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [text.split()[:3] for text in rows] == [["timm:test_resnet", "32", again] for again in ("no", "yes")]
    assert float(rows[0].split()[4]) >= 0
    assert f"engine.checkpointing=true: timm:test_resnet {WHY}" in rows[1]
