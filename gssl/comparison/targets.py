"""What sources are evaluated on: data sets and folders of any kind, each with its task, its probes and its budgets.

The columns of a target choose its task. What the user gave for all targets holds where it fits a target; where it does
not, or where nothing was given, the defaults of that kind of data do (`conf/data_defaults/transfer`).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.config import hydra_api, image_size
from gssl.config.command_line import quoted
from gssl.config.composing import compose
from gssl.config.registry import PROBE
from gssl.data import targets as columns
from gssl.data.layout import look
from gssl.data.sources import SOURCES
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.tasks import Task, task_of
from gssl.schemas.label_budgets import label_budget_keys
from gssl.words import PROBES, data_name, label_budget_text, listed

# Of `data`, what holds for every target; its size does where it fits.
KEPT = ("val_fraction", "test_fraction", "split_seed", "limit", "range", "store", "on_error", "workers")
# Of a configuration, what a kind of data may have defaults of its own for.
OWN = ("probe", "labels_per_class", "fractions", "images_labelled", "draws", "draws_one_shot")


@dataclass(frozen=True)
class Target:
    """A data set to evaluate on. own: the values of OWN that are this target's; the others are everyone's."""

    data: schemas.Data
    own: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        return task_of(SOURCES[self.data.name].columns)

    def probes(self, cfg: schemas.Probing) -> schemas.Probes:
        found: schemas.Probes = self.own.get("probe", cfg.probe)
        return found

    def record(self) -> dict[str, Any]:
        """Its entry in curve.json."""
        return {"name": self.data.name, "root": self.data.root, "size": self.data.size, "task": self.task.name}


def targets_of(cfg: Any, sizes: set[int]) -> dict[str, Target]:
    """Each data set to evaluate on by its name.

    sizes: sides in pixels of the images that the sources were made for. A target's images have that size if it is one,
    else data.size where the user chose it, else the data set's own. Where images are rectangles of their own, it is
    data.size where the user chose it, else their own.
    """
    if not cfg.to:
        return {data_name(cfg.data.name, cfg.data.root, cfg.data.train): Target(cfg.data)}
    if len(sizes) > 1:
        say(f"note: the sources were made for images of unlike sizes; all are evaluated at data.size={cfg.data.size}")
    chosen = _size_is_chosen(cfg.data, cfg.engine.device)
    found: dict[str, Target] = {}
    for text in cfg.to:
        place, _, more = text.partition("?")
        path = Path(place).expanduser()
        folder = place != cfg.data.name and ("/" in place or path.is_dir())
        name = path.resolve().name if folder else place
        if name in found:  # two folders of one name
            name = "/".join(path.resolve().parts[-2:])
        if name in found:
            raise UsageError(f"to: two data sets are called {name}; rename a folder")
        if place == cfg.data.name:
            if more:
                raise UsageError(f"to: {text}: these are the images of data=; write data.{more.partition('&')[0]}")
            found[name] = _with_own(cfg, name, cfg.data)
        else:
            found[name] = _with_own(cfg, name, _data(cfg, text, folder, sizes, chosen))
    return found


def _data(cfg: Any, text: str, folder: bool, sizes: set[int], chosen: bool) -> schemas.Data:
    """`data` of a target: of a folder by what lies in it, of a name by its YAML. Behind a `?` stand keys of its own."""
    place, _, more = text.partition("?")
    given = dict(_pair(text, part) for part in more.split("&")) if more else {}
    if folder:
        if not Path(place).expanduser().is_dir():
            raise UsageError(f"to: {place}: there is no such folder; expected one of images, or a name of conf/data")
        try:
            layout = look(Path(place).expanduser())
        except UsageError as error:
            raise UsageError(f"to: {error}") from error
        for line in layout.lines:
            say(f"to: {line}")
        words = [f"data={layout.name}", *(f"data.{k}={quoted(v)}" for k, v in layout.keys.items() if k not in given)]
        kind = layout.name
    else:
        words, kind = [f"data={place}"], place
    size = _size(cfg.data, kind, sizes, chosen) if "size" not in given else None
    if size is not None:
        words.append(f"data.size={size}".replace(" ", ""))  # none is looked for among the images
    words += [f"data.{key}={value if value[:1] == '[' else quoted(value)}" for key, value in given.items()]
    try:
        data: schemas.Data = compose("transfer", ["weights=random", f"engine.device={cfg.engine.device}", *words]).data
    except UsageError as error:
        raise UsageError(
            f"to: {text}: expected the name of a data set (conf/data) or a folder of images ({error})"
        ) from error
    kept = {key: getattr(cfg.data, key) for key in KEPT if key not in given}
    # torchvision's files of several data sets lie in one folder; a folder of images is one data set's own
    shared = not folder and SOURCES[data.name].root and not SOURCES[cfg.data.name].folder and "root" not in given
    return schemas.replace(data, **kept, **({"root": cfg.data.root} if shared else {}))


def _pair(text: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or key not in schemas.Data.model_fields:
        raise UsageError(f"to: {text}: behind the ? stand keys of data, such as photos/?size=64&val_fraction=0.2")
    return key, value


def _size(data: schemas.Data, kind: str, sizes: set[int], chosen: bool) -> Any:
    """The size of a target of this kind; None: its own."""
    rectangles = kind in SOURCES and columns.of_data(kind).rectangles
    if len(sizes) == 1 and not rectangles:
        return next(iter(sizes))
    if rectangles:
        return data.size if chosen else None
    if len(sizes) > 1:
        return data.side
    return data.size if chosen and not isinstance(data.size, list) else None


def _size_is_chosen(data: schemas.Data, device: str) -> bool:
    """Whether data.size is not what these data have by themselves."""
    own = _own_size(data.name)
    return bool(data.size != (image_size.chosen(data.model_dump(), device) if own == image_size.AUTO else own))


@functools.lru_cache(maxsize=32)
def _own_size(name: str) -> Any:
    """As the YAML of a kind of data has it: auto is not looked for."""
    with hydra_api.session(None):
        return hydra_api.composed("transfer", ["weights=random", f"data={name}"]).data.size


def _with_own(cfg: Any, name: str, data: schemas.Data) -> Target:
    """The target with what is its own: its kind's defaults where the user gave nothing else, and of the probes those
    that serve its task. Says which."""
    base, theirs = (compose("transfer", ["weights=random", "to=[x]", f"data={n}"]) for n in (cfg.data.name, data.name))
    own = {key: _merged(*(_plain(getattr(one, key)) for one in (cfg, base, theirs))) for key in OWN}
    own["probe"] = schemas.Probes.model_validate(own["probe"])
    task = Target(data).task
    serving = [probe for probe in own["probe"].use if task.name in PROBE[probe].tasks]
    own["probe"] = schemas.replace(own["probe"], use=serving or theirs.probe.use)
    goal = columns.of_data(data.name)
    few = own["labels_per_class"] if goal.unit == "label" else own["images_labelled"]
    budgets = [f"{listed([str(n) for n in few])} {goal.words}"] if few else []
    budgets += [label_budget_text(key) for key in label_budget_keys([], own["fractions"])]
    probes = listed([PROBES.get(probe, probe) for probe in own["probe"].use])
    say(f"to: {name}: {task.name} by {probes}; label budgets: {', '.join(budgets)}")
    return Target(data, own)


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _merged(mine: Any, base: Any, theirs: Any) -> Any:
    """Key by key what the user has changed from the defaults, else the defaults of the target's kind."""
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        return {key: _merged(mine[key], base.get(key), theirs.get(key)) for key in mine}
    return theirs if mine == base else mine
