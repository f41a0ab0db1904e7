"""`--cfg job`: the checked configuration as YAML, with what each key is for."""

import json
import re

import pytest
import yaml
from typer.testing import CliRunner

from gssl.cli import app


@pytest.mark.parametrize("command", ["pretrain-ssl", "train-gan", "transfer", "curve", "compare"])
def test_cfg_says_what_keys_are_for_and_is_yaml_of_the_same_values(command):
    needed = {"transfer": ["weights=random"], "curve": ["sources=[random]"]}.get(command, [])
    done = CliRunner().invoke(app, [command, *needed, "--cfg", "job"])
    lines = done.stdout.splitlines()
    assert any(line.startswith("  val_fraction: 0.1 # ") for line in lines)  # of the schema
    assert any(
        re.fullmatch(r"  precision: auto # auto \| fp32 \| bf16 \| fp16", line) for line in lines
    )  # of the YAML file
    values = json.loads(CliRunner().invoke(app, [command, *needed, "--cfg", "job", "--json"]).stdout)
    tree = yaml.safe_load(done.stdout)
    for family in ("ssl", "gan"):
        tree.get(family, {}).pop("recipes", None)
    tree.pop("experiment", None)
    assert tree == values
