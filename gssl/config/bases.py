"""Composing again with other values: what the groups give is remembered, and the values are set on a copy of it.

Hydra reads twenty files, merges them and copies the whole a few times, for every composition anew; a comparison
composes once for itself and for each arm with overrides. Which files are merged depends on the overrides of groups
alone (`ssl=dcgan`), so the others (`seed=1`) can be set afterwards, as Hydra itself does. Whatever is not plain is left
to Hydra: this returns None for it, and where a value does not fit, so that every message is Hydra's.
"""

import os
import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# Of Hydra's own node, the keys that nothing else of it is made of.
OF_HYDRA = ("hydra.run.", "hydra.sweep.", "hydra.mode")


def files(place: Path) -> tuple[object, ...]:
    """What tells that a file below a directory was changed, added or removed: a stamp of each."""
    found: list[object] = []
    for folder, _, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            at = os.stat(path)
            found.append((path, at.st_mtime_ns, at.st_size, at.st_ino))
    return tuple(found)


class Bases:
    """Configurations of groups that were composed, until a file or a variable of the environment changes."""

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self.known: dict[tuple[object, ...], bytes] = {}
        self.state: tuple[object, ...] = ()

    def composed(
        self,
        name: str,
        overrides: Sequence[Override],
        is_group: Callable[[str], bool],
        compose: Callable[[list[str]], DictConfig],
        state: tuple[object, ...],
    ) -> DictConfig | None:
        """The whole configuration of `name`, or None where it is left to Hydra.

        compose: by Hydra, of the overrides of groups. state: of all that it may read.
        """
        groups, values = _split(overrides, is_group)
        if values is None:
            return None
        if state != self.state:
            self.known.clear()
            self.state = state
        key = (name, os.getcwd(), *groups)
        if key not in self.known:
            while len(self.known) >= self.most:
                del self.known[next(iter(self.known))]
            self.known[key] = pickle.dumps(compose(groups))
        whole: DictConfig = pickle.loads(self.known[key])
        OmegaConf.clear_cache(whole)  # the time, for one
        try:
            for override in values:
                if not _set(whole, override):
                    return None
            _on_record(whole, overrides)
        except OmegaConfBaseException:
            return None
        return whole


def _split(overrides: Sequence[Override], is_group: Callable[[str], bool]) -> tuple[list[str], list[Override] | None]:
    """The overrides of groups as they were typed, and those of values; None where one is not plain."""
    groups: list[str] = []
    values: list[Override] = []
    for override in overrides:
        key = override.key_or_group
        if override.is_sweep_override() or override.input_line is None:
            return [], None
        if "." not in key and (override.package is not None or is_group(key)):
            if isinstance(override.value(), dict):
                return [], None
            groups.append(override.input_line)
        elif override.package is not None or override.is_delete() or _of_hydra(key):
            return [], None
        else:
            values.append(override)
    return groups, values


def _of_hydra(key: str) -> bool:
    return re.match(r"hydra\b", key) is not None and not key.startswith(OF_HYDRA)


def _set(whole: DictConfig, override: Override) -> bool:
    """Set one value; False where it cannot be."""
    key, value = override.key_or_group, override.value()
    there = OmegaConf.select(whole, key, throw_on_missing=False) if override.is_add() else None
    if there is not None and not isinstance(value, dict | list):
        return False
    OmegaConf.update(whole, key, value, merge=True, force_add=override.is_add() or override.is_force_add())
    return True


def _on_record(whole: DictConfig, overrides: Sequence[Override]) -> None:
    """The overrides, in what Hydra says of the job."""
    lines = {own: [str(o.input_line) for o in overrides if o.is_hydra_override() == own] for own in (True, False)}
    whole.hydra.overrides.hydra, whole.hydra.overrides.task = lines[True], lines[False]
    form = whole.hydra.job.config.override_dirname
    named = [o.input_line for o in overrides if not o.is_hydra_override() and o.key_or_group not in form.exclude_keys]
    whole.hydra.job.override_dirname = re.sub("=", form.kv_sep, form.item_sep.join(sorted(map(str, named))))
