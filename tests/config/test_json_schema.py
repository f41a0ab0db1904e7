"""`--cfg schema`: the JSON schema of a command, by which editors check and complete YAML files."""

import copy
import functools
import json

import jsonschema
import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from gssl.cli import app
from gssl.config import hydra_api, json_schema, registry
from gssl.config.composing import compose
from gssl.schemas.commands import COMMANDS

NEEDED = {"transfer": ["weights=random"], "curve": ["sources=[random]"]}
FAMILY = {"ssl": "pretrain-ssl", "gan": "train-gan"}


@functools.cache
def validator(command):
    return jsonschema.Draft202012Validator(json_schema.document(command))


def errors(command, values):
    return [error.json_path for error in validator(command).iter_errors(values)]


def job(command, *overrides):
    """What `--cfg job` shows, interpolations and recipes included."""
    with hydra_api.session(None):
        whole = OmegaConf.to_container(hydra_api.composed(command, list(overrides)))
    return {key: value for key, value in whole.items() if key != "hydra"}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_composes_is_valid(command):
    jsonschema.Draft202012Validator.check_schema(json_schema.document(command))
    assert errors(command, compose(command, NEEDED.get(command, [])).model_dump()) == []
    assert errors(command, job(command, *NEEDED.get(command, []))) == []


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in FAMILY for name in registry.FAMILIES[family]]
)
def test_what_a_method_composes_is_valid(family, name):
    assert errors(FAMILY[family], job(FAMILY[family], f"{family}={name}")) == []


def test_what_is_wrong_is_found_where_it_is():
    right = compose("pretrain-ssl").model_dump()
    for path, value, place in (
        (("seed",), -1, "$.seed"),
        (("data", "views", "flip"), 2, "$.data.views.flip"),
        (("engine", "precision"), "fp15", "$.engine.precision"),
        (("engine", "tempo"), 1, "$.engine"),
        (("ssl", "temperature"), 0, "$.ssl.temperature"),
        (("ssl", "recipes"), {"long": "budget.epochs=9"}, "$.ssl.recipes.long"),
        (("ssl", "tempo"), 1, "$.ssl"),
        (("ssl", "name"), "simclrr", "$.ssl.name"),
    ):
        values = copy.deepcopy(right)
        section = values
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        assert errors("pretrain-ssl", values) == [place]


@pytest.mark.parametrize(("command", "family"), [("pretrain-ssl", "ssl"), ("train-gan", "gan")])
def test_the_name_says_which_methods_section_it_is(command, family):
    made = json_schema.document(command)
    node = made["properties"][family]
    mapping = {rule["if"]["properties"]["name"]["const"]: rule["then"]["$ref"] for rule in node["allOf"]}
    assert list(mapping) == node["properties"]["name"]["enum"] == list(registry.FAMILIES[family])
    for name, pointer in mapping.items():
        section = made["$defs"][pointer.rpartition("/")[2]]
        assert set(section["properties"]) == {*registry.FAMILIES[family][name].schema.model_fields, "recipes"}


def test_meanings_are_in_it():
    made = json_schema.document("pretrain-ssl")
    assert "threads" in made["$defs"]["Data"]["properties"]["workers"]["description"]
    assert made["$defs"]["Optim"]["description"].startswith("An optimiser")


def test_the_command_prints_it_and_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["--json"]):
        done = CliRunner().invoke(app, ["compare", "--cfg", "schema", *flags])
        assert done.exit_code == 0 and json.loads(done.stdout) == json_schema.document("compare")
    assert list(tmp_path.iterdir()) == []
    assert "--cfg" in CliRunner().invoke(app, ["compare", "--help"]).stdout
