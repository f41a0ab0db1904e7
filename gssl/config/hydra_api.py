"""All that gssl uses of Hydra: composing, its grammar, running a task. Only `Session` knows where it keeps its state.

Everything stands on names without an underscore. `GlobalHydra` gives the object that `hydra.main` would make: running
through it spares composing the configuration once more.
"""

import contextlib
import functools
import io
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gssl.config import bases
from gssl.config.paths import conf_dir, config_name
from gssl.config.validate import first_line
from gssl.engine.trouble import TOO_LONG
from gssl.errors import UsageError

# What Hydra and OmegaConf raise about a configuration.
ERRORS = (HydraException, OmegaConfBaseException)
VERSION_BASE = "1.3"
MOST_TEXT, MOST_VALUES, DEEPEST = 2**20, 10_000, 40  # of one YAML file, its aliases written out
LONGEST = 4000  # bytes of a path
_load: Any = OmegaConf.load
_BASES = bases.Bases()


class OwnDirectory(SearchPathPlugin):
    """Puts --config-dir behind gssl's own directory, as `hydra.main` does."""

    path: str | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.path is not None:
            search_path.append("command-line", f"file://{self.path}")


Plugins.instance().register(OwnDirectory)


@contextlib.contextmanager
def session(config_dir: str | None) -> Iterator[None]:
    """Hydra is initialised inside; within a running job it is so already, and that job's directories count."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UsageError(f"--config-dir: no directory {config_dir}")
    OwnDirectory.path = None if config_dir is None else str(Path(config_dir).absolute())
    try:
        place = str(conf_dir())
        with _bounded_files(), hydra.initialize_config_dir(place, job_name="gssl", version_base=VERSION_BASE):
            yield
    finally:
        OwnDirectory.path = None


@contextlib.contextmanager
def _bounded_files() -> Iterator[None]:
    """Inside, OmegaConf reads no file that is huge, deep, or has aliases that stand for millions of values."""

    def bounded(file: Any) -> Any:
        name = str(getattr(file, "name", file))
        if hasattr(file, "read"):
            text = file.read(MOST_TEXT + 1)
        else:
            with open(file, encoding="utf-8") as opened:
                text = opened.read(MOST_TEXT + 1)
        return pickle.loads(_pickled(text, name))

    OmegaConf.load = staticmethod(bounded)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        OmegaConf.load = staticmethod(_load)  # type: ignore[method-assign]


@functools.lru_cache(maxsize=256)
def _pickled(text: str, name: str) -> bytes:
    """What a YAML file holds, for any number of copies: reading a text takes 20 times as long as copying its values.

    Every composition reads the same twenty files. The text itself is the key, so a file that was changed is read anew.
    """
    try:
        return pickle.dumps(_load(io.StringIO(_checked(text, name))))
    except yaml.YAMLError as e:
        mark, why = getattr(e, "problem_mark", None), getattr(e, "problem", None) or first_line(e)
        at = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{name}{at}: no YAML: {why}; mend the file") from e


def _checked(text: str, name: str) -> str:
    """The text of a YAML file. Raises UsageError where it holds more than a configuration does."""
    if len(text) > MOST_TEXT:
        raise UsageError(f"{name}: more than {MOST_TEXT // 2**20} MiB; a configuration is shorter")
    sizes: dict[str, int] = {}
    counts: list[tuple[str | None, int]] = [(None, 0)]  # of every collection that is open: its anchor, its values
    events = yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for event in events if "*" in text or text.count("[") + text.count("{") > DEEPEST or "- - " in text else ():
        if isinstance(event, yaml.CollectionStartEvent):
            counts.append((event.anchor, 1))
            if len(counts) > DEEPEST:
                raise UsageError(f"{name}: nested deeper than {DEEPEST} levels; a configuration is flatter")
            continue
        anchor, size = getattr(event, "anchor", None), 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UsageError(f"{name}: *{event.anchor} stands for nothing, or within itself; write its values out")
            anchor, size = None, sizes[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = counts.pop()
        if anchor:
            sizes[anchor] = size
        counts[-1] = counts[-1][0], counts[-1][1] + size
        if counts[-1][1] > MOST_VALUES:
            raise UsageError(f"{name}: its aliases stand for more than {MOST_VALUES} values; write what is needed out")
    return text


# ── composing ────────────────────────────────────────────────────────────────────────────────────


def composed(command: str, overrides: list[str]) -> DictConfig:
    """The configuration of a command, the `hydra` node included. Raises one of ERRORS."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="provider=hydra.searchpath")  # a directory that is not there
            return _again(command, overrides) or _by_hydra(command, overrides)
    except (*ERRORS, UsageError):
        raise
    except RecursionError as e:
        raise UsageError("the configuration is nested too deeply; write fewer brackets or interpolations") from e
    except UnicodeDecodeError as e:  # from the first lines of a file, which Hydra reads by itself
        raise UsageError(f"a YAML file that was chosen is not UTF-8: {first_line(e)}; save it as UTF-8") from e
    except Exception as e:  # Hydra runs on nothing but files and overrides here: one of them is wrong
        raise HydraException(first_line(e)) from e


def _by_hydra(command: str, overrides: list[str]) -> DictConfig:
    return hydra.compose(config_name(command), overrides, return_hydra_config=True)


def _again(command: str, overrides: list[str]) -> DictConfig | None:
    """The same, of groups that were composed before; None where that is Hydra's."""
    if not _own_files_alone():
        return None
    state = bases.files(conf_dir()), *sorted(os.environ.items())
    try:
        read = [parsed(text) for text in overrides]
    except ERRORS:
        return None
    return _BASES.composed(command, read, is_group, functools.partial(_by_hydra, command), state)


def _own_files_alone() -> bool:
    """Whether no directory but gssl's own is searched: another may be as large as a disk."""
    paths = [element.path for element in GlobalHydra.instance().config_loader().get_search_path().get_path()]
    folders = [path.removeprefix("file://") for path in paths if not path.startswith(("pkg://", "structured://"))]
    return folders == [str(conf_dir())]


def options(group: str) -> list[str]:
    """The choices of a group; [] where there is no such group."""
    found: list[str] = GlobalHydra.instance().config_loader().get_group_options(group)
    return found


def exists(group: str, name: str) -> bool:
    """Whether a group has a choice, which may lie in a folder of it."""
    folder, _, last = f"{group}/{name}".rpartition("/")
    return last in options(folder)


def is_group(key: str) -> bool:
    """Whether a key names a group: a folder of files, or of folders."""
    if not _own_files_alone():
        return _group_of_hydra(key)
    return os.path.isdir(conf_dir() / key) or _packaged_group(key)


def _group_of_hydra(key: str) -> bool:
    return bool(GlobalHydra.instance().config_loader().get_group_options(key, results_filter=None))


# of a key that is no folder of gssl's own: then packages alone decide, which stay as they are
_packaged_group = functools.lru_cache(maxsize=1024)(_group_of_hydra)


def search_path() -> str:
    """The directories in which configurations are looked for."""
    return str(GlobalHydra.instance().config_loader().get_search_path())


def own_preset(name: str) -> set[str]:
    """The keys at the top of a preset that lies outside gssl's own directory; those without a value are left out."""
    found: set[str] = set()
    for element in GlobalHydra.instance().config_loader().get_search_path().get_path():
        folder = Path(element.path.removeprefix("file://"))
        file = folder / "experiment" / f"{name}.yaml"
        if folder != conf_dir() and file.is_file():
            values = OmegaConf.load(file)
            assert isinstance(values, DictConfig)  # a preset is a mapping
            given = (key for key in values if not OmegaConf.is_missing(values, key))
            found |= {str(key) for key in given if values[key] not in (None, [])}
    return found


def chosen(whole: DictConfig, group: str) -> str:
    """The choice of one of Hydra's own groups, such as hydra/launcher."""
    return str(OmegaConf.to_container(whole.hydra)["runtime"]["choices"][group])  # type: ignore[index, call-overload]


@contextlib.contextmanager
def hydra_values(whole: DictConfig) -> Iterator[None]:
    """Inside, `${hydra:...}` resolves as it will in the job."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(whole)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def selected(whole: DictConfig, key: str) -> str:
    """The directory that a key, such as hydra.run.dir, names, as the job will see it. Raises UsageError."""
    try:
        with hydra_values(whole):
            value = OmegaConf.select(whole, key, throw_on_missing=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as e:
        raise UsageError(f"{key}: {first_line(e)}") from e
    if isinstance(value, bool | None) or OmegaConf.is_config(value) or not str(value).strip():
        got = "nothing" if value is None or value == "" else str(value)
        raise UsageError(f"{key}: expected a directory, such as {key}=runs/mine; got {got}")
    place = os.fsencode(str(value))
    if b"\0" in place:
        raise UsageError(f"{key}: a path holds no NUL character; choose another, such as {key}=runs/mine")
    if len(place) > LONGEST or any(len(part) > 255 for part in place.split(b"/")):
        raise UsageError(f"{key}: {TOO_LONG}")
    return str(value)


# ── the grammar of overrides ─────────────────────────────────────────────────────────────────────


def parsed(text: str) -> Override:
    """An override. Raises one of ERRORS."""
    found = _parsed(text)
    return _parser(text) if found.is_sweep_override() else found  # a sweep asks the directories of this session


def _parser(text: str) -> Override:
    found: Override = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides([text])[0]
    return found


_parsed = functools.lru_cache(maxsize=64)(_parser)  # a text is read some five times on the way to a run


def value_of(text: str) -> Any:
    """The value that Hydra reads in an override, or None where it cannot."""
    try:
        return parsed(text).value()
    except (OverrideParseException, HydraException):
        return None


def choices(override: Override) -> list[str]:
    """The single overrides that a sweep stands for; of an interval, its two ends."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    return [f"{key}={choice}" for choice in override.sweep_string_iterator()]


# ── running ──────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def on_record(command: str, texts: list[str], config_dir: str | None, multirun: bool = False) -> Iterator[Any]:
    """Hydra's own object, with the whole command line in sys.argv: workers have no other place to read it from."""
    before = sys.argv
    place = ["--config-dir", str(Path(config_dir).absolute())] if config_dir else []
    sys.argv = [f"gssl {command}", *(["--multirun"] if multirun else []), *place, *texts]
    try:
        with session(config_dir):
            yield GlobalHydra.instance().hydra
    finally:
        sys.argv = before


@contextlib.contextmanager
def launched_by(launcher: type[Launcher] | None) -> Iterator[None]:
    """Inside, sweepers start their runs by `launcher`, whatever hydra/launcher is; None: by that.

    Hydra makes launchers by name, of packages in hydra_plugins alone, where gssl installs nothing.
    """
    plugins: Any = Plugins.instance()

    def made(*, hydra_context: Any, task_function: Any, config: DictConfig) -> Launcher:
        assert launcher is not None
        found = launcher()
        found.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return found

    if launcher is not None:
        plugins.instantiate_launcher = made
    try:
        yield
    finally:
        if launcher is not None:
            del plugins.instantiate_launcher


def run(
    command: str,
    texts: list[str],
    config_dir: str | None,
    multirun: bool,
    task: Callable[[DictConfig], Any],
    launcher: type[Launcher] | None = None,
) -> None:
    """Run a task as `hydra.main` would, once or for each combination of a sweep. launcher: see `launched_by`."""
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    with on_record(command, texts, config_dir, multirun) as made, launched_by(launcher):
        start = made.multirun if multirun else made.run
        start(config_name=config_name(command), task_function=task, overrides=[*texts, f"hydra.mode={mode.name}"])
