"""Overrides of a comparison's single arms: they must compose and have an effect. No torch here.

A comparison would find out only when it starts, or not at all.
"""

import re
from collections.abc import Callable, Sequence

from gssl import schemas
from gssl.config import arms
from gssl.config.command_line import data_words
from gssl.config.comparison_rules import choices
from gssl.config.keys import SHORT
from gssl.errors import UsageError

# What an arm's overrides cannot change.
SAME_DATA = ("data", "labels_per_class", "fractions", "images_labelled", "draws", "draws_one_shot")
FIXED = (*SAME_DATA, "seed", "weights", "backbone", "budget", "engine", "eval", "hydra")


def check(cfg: schemas.Compare, compose: Callable[[str, list[str]], object]) -> None:
    """Raises UsageError for the first override that does not fit its arm. compose: of a command and its overrides."""
    known = {arm.name: arm for arm in arms.read(cfg.arms)}
    data = [] if cfg.runs else data_words(cfg.data)  # which methods and probes there are depends on them

    def on_data(command: str, texts: list[str]) -> object:
        return compose(command, [*data, *texts])

    for name, texts in cfg.overrides.items():
        _check(f"overrides.{name}", known.get(name) or arms.parse(name), texts, on_data)
    for name, space in cfg.search.space.items():
        for text in {text for combination in choices(space) for text in combination}:
            _check(f"search.space.{name}", known.get(name) or arms.parse(name), [text], on_data)


def _check(where: str, arm: arms.Arm, texts: Sequence[str], compose: Callable[[str, list[str]], object]) -> None:
    trained = {arms.command(method) for method in arm.trained}
    for text in texts:
        key = text.lstrip("+~").partition("=")[0].strip()
        if re.split(r"[./@:]", key)[0] in FIXED or key in ("probe.use", *SHORT):
            raise UsageError(f"{where}: {key} cannot be an arm's own; a comparison has one for all")
        if key == "recipe":
            why = "it brings a backbone and a budget, of which a comparison has one for all"
            raise UsageError(f"{where}: recipe= has no place here: {why}; write its values one by one")
        owner = arms.owner(text)
        if owner == "transfer":
            continue
        if not trained:
            why = f"{arm.name} is not trained and takes probe.* only; of the rest a comparison has one for all"
            raise UsageError(f"{where}: {key} has no place here: {why}")
        if owner not in trained:
            raise UsageError(f"{where}: {key} has no place here: nothing of {arm.name} is a {owner} run")
    try:
        for method in arm.trained:
            command = arms.command(method)
            if mine := [text for text in texts if arms.owner(text) == command]:
                compose(command, [f"{arms.METHOD[command]}={method}", *mine])
        if probe := [text for text in texts if arms.owner(text) == "transfer"]:
            compose("transfer", ["weights=random", *probe])
    except UsageError as e:
        raise UsageError(f"{where}: {e}") from e
