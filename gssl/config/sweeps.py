"""What a sweeper has to know of a command: the search space as overrides, and whether its objective should be large.

Hydra's plugins name the direction differently, and some know one only: `towards` sets the plugin's own key where there
is one, else the sign of the objective is changed.
"""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gssl.config import hydra_api
from gssl.config.command_line import quoted
from gssl.errors import UsageError

# What the number is that a command returns; the others return none.
OBJECTIVES = {"pretrain-ssl": "max", "transfer": "max", "train-gan": "min"}
# A plugin's key of the direction → what it says for an objective that should be small, and large.
KEYS: dict[str, tuple[Any, Any]] = {
    "hydra.sweeper.direction": ("minimize", "maximize"),  # Optuna
    "hydra.sweeper.ax_config.experiment.minimize": (True, False),
    "hydra.sweeper.optim.maximize": (False, True),  # Nevergrad
}
PARAMS = "hydra.sweeper.params"
WORDS = {"min": "small", "max": "large"}


def search_space(texts: Sequence[str]) -> list[str]:
    """Overrides with `hydra.sweeper.params` as ordinary ones, which are checked like all; those given win.

    `hydra.sweeper.params={ssl.lr: 'interval(0.1,1)'}` is `ssl.lr=interval(0.1,1)`. Hydra cannot set this key on a
    command line where a plugin declares it as null. Raises UsageError.
    """
    found: dict[str, str] = {}
    rest = []
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.lstrip("+")
        if equals and key == PARAMS and value != "null":
            found |= _space(text)
        elif equals and key.startswith(f"{PARAMS}."):
            read = hydra_api.value_of(f"params={value}")  # the quotes around it go; a choice stays as it is typed
            found[key.removeprefix(f"{PARAMS}.")] = read if isinstance(read, str) else value
        else:
            rest.append(text)
    given = {text.partition("=")[0].lstrip("+") for text in rest}
    return [*(f"{key}={value}" for key, value in found.items() if key not in given), *rest]


def _space(text: str) -> dict[str, str]:
    try:
        values = hydra_api.parsed(text).value()
    except hydra_api.ERRORS:
        values = None
    if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
        raise UsageError(
            f"{PARAMS}: expected a mapping from keys to choices, such as"
            f" '{PARAMS}={{seed: choice(0,1)}}'; seed=choice(0,1) alone does the same"
        )
    typed = dict(entry.strip().split(":", 1) for entry in _entries(text.partition("{")[2].rpartition("}")[0]))
    # what stood in quotes without them, the rest as it was typed: choice(0,1) has become an object
    words = {key.strip(): value.strip() for key, value in typed.items()}
    return {key: value if isinstance(value, str) else words[str(key)] for key, value in values.items()}


def _entries(text: str) -> list[str]:
    """The parts of a mapping between its commas: those neither in brackets nor in quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


@dataclass(frozen=True)
class Aim:
    """How a sweeper is told the direction: overrides to add, a factor of the objective, and what to say of it."""

    texts: tuple[str, ...] = ()
    sign: float = 1.0
    note: str = ""


def optimises(whole: DictConfig) -> bool:
    """Whether the sweeper chooses values by the objective; Hydra's own runs all combinations."""
    return "BasicSweeper" not in str(OmegaConf.select(whole, "hydra.sweeper._target_"))


def aim(command: str, whole: DictConfig, texts: Sequence[str]) -> Aim:
    """How the sweeper of a composed configuration is made to look for the better objective of `command`.

    A direction that the user gave on the command line (`texts`) stays. Raises UsageError where there is nothing to
    optimise, or several objectives are asked for.
    """
    sweeper = hydra_api.chosen(whole, "hydra/sweeper")
    want = OBJECTIVES.get(command)
    if want is None:
        raise UsageError(
            f"hydra/sweeper={sweeper}: {command} has no single number to optimise ({', '.join(OBJECTIVES)} have one);"
            " leave it out to run every combination"
        )
    for key, words in KEYS.items():
        there = OmegaConf.select(whole, key, default=None)
        if there is None:
            continue
        if OmegaConf.is_list(there):
            raise UsageError(f"{key}: {command} has one objective; give one direction, or leave the key out")
        wanted = words[want == "max"]
        if str(getattr(there, "name", there)) == str(wanted):
            return Aim()
        if any(text.partition("=")[0].lstrip("+") == key for text in texts):
            says = "smallest" if want == "max" else "largest"
            return Aim(note=f"warning: {key}={getattr(there, 'name', there)}: the {says} objective is sought, but that"
                            f" of {command} should be {WORDS[want]}")  # fmt: skip
        return Aim((f"{key}={quoted(wanted)}",), note=f"note: {key}={quoted(wanted)}, as {command}'s objective asks")
    if want == "min":
        return Aim()
    return Aim(sign=-1.0, note=f"note: hydra/sweeper={sweeper} is taken to minimise, so it is given the objective of"
                               f" {command} with the sign changed")  # fmt: skip


def quiet(whole: DictConfig) -> None:
    """Silence what the libraries behind a sweeper log of themselves: plugins of alembic, a study's random name."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if "optuna" in str(OmegaConf.select(whole, "hydra.sweeper._target_")):
        importlib.import_module("optuna").logging.set_verbosity(logging.WARNING)
