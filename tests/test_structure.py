"""The shape of the house: imports run downwards, SSL and GAN do not meet, names in dict, YAML and docs agree."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel

from gssl import schemas
from gssl.commands import COMMANDS
from gssl.config import registry
from gssl.data.sources import SOURCES
from gssl.data.targets import TARGETS
from gssl.nets.backbone import BACKBONES
from gssl.probe import clips
from gssl.schemas import gan, probes, ssl
from gssl.statistics.metric import METRICS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gssl"

# Rooms from top to bottom; a room imports rooms that stand further down only. Rooms on one line do not meet.
LEVELS = [
    {"__main__"},
    {"cli"},
    {"commands"},
    {"comparison"},
    {"report"},
    {"experiment"},
    {"config"},
    {"engine"},
    {"ssl", "gan", "probe"},
    {"figures"},
    {"metrics"},
    {"data"},
    {"nets"},
    {"method"},
    {"statistics"},
    {"schemas"},
    {"words", "names", "vocabulary"},
    {"errors"},
]
ALLOWED: set[tuple[str, str]] = set()
LONGER: dict[tuple[str, str], int] = {}  # (file, function): lines, where more than 80 read better
LEVEL = {room: depth for depth, rooms in enumerate(LEVELS) for room in rooms}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0] if len(parts) > 1 or parts[0] != "__init__" else ""


WHERE = re.compile(r"gssl(\.\w+)+(:\w+)?")  # a module in a string, as `load` and import_module take it


def imports(path: Path, at_import: bool = False) -> set[str]:
    """Modules of gssl that a file imports or names in a string: dotted, with what is taken from them.

    at_import: only what runs when the file is imported, neither in functions nor for type checkers.
    """
    found, queue = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif not at_import and isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value.replace(":", ".")} if WHERE.fullmatch(node.value) else set()
        queue += ast.iter_child_nodes(node)
    return {name for name in found if name.startswith("gssl.")}


def rooms(path: Path) -> set[str]:
    """Rooms of gssl that a file imports or names in a string, wherever in the file."""
    return {name.split(".")[1] for name in imports(path)} & set(LEVEL)


def module(path: Path) -> str:
    return ".".join(["gssl", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_and_strings_run_downwards(path):
    here = room(path)
    if here == "":
        return
    assert here in LEVEL, f"{path}: a room that the design does not know; give it a level"
    for other in rooms(path) - {here}:
        fine = LEVEL[other] > LEVEL[here] or (here, other) in ALLOWED
        assert fine, f"{path} imports or names gssl.{other}, which stands above or beside gssl.{here}"


def test_the_level_test_finds_imports_and_strings():
    assert {"engine", "data", "probe"} <= rooms(PACKAGE / "experiment" / "probing.py")
    assert {"ssl", "gan", "probe"} <= rooms(PACKAGE / "config" / "registry.py")


def needs(paths: list[Path], at_import: bool) -> dict[str, set[str]]:
    """Module → modules among `paths` that it imports."""
    known = {module(path): path for path in paths}
    graph = {}
    for name, path in known.items():
        # `from gssl.x import y` needs gssl.x.y where that is a module, else gssl.x
        needed = {text if text in known else text.rpartition(".")[0] for text in imports(path, at_import)}
        graph[name] = needed & set(known) - {name}
    return graph


@pytest.mark.parametrize(("where", "at_import"), [("", True), ("commands", False)])
def test_no_circle_of_modules(where, at_import):
    """Whichever module is imported first, what it needs is there; commands do not call each other in a circle."""
    paths = [path for path in modules() if path.is_relative_to(PACKAGE / where)]
    graph = needs(paths, at_import)
    graph.pop("gssl.commands" if not at_import else "", None)  # it names every command
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_function_passes_80_lines(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            most = LONGER.get((str(path.relative_to(PACKAGE)), node.name), 80)
            assert length <= most, f"{path.name}:{node.lineno}: {node.name} has {length} lines"


# What names a task in these two rooms, its column, a probe that serves it alone or a metric of it.
NAMED = {
    ("report/scores.py", "classification"),  # of entries of older runs that name no task
    ("report/generation.py", "accuracy"),  # of the classifier that says which class a generated image is of
}
WORDS = {"label", "text"}  # which are keys of documents, too


def test_reports_and_comparisons_ask_for_no_task_by_its_name():
    """What they need of one, `gssl.data.targets.Target` and `gssl.experiment.tasks.Task` say."""
    names = {*TARGETS, *(goal.task for goal in TARGETS.values()), *METRICS}
    names |= {name for name, probe in registry.PROBE.items() if len(probe.tasks) == 1}
    found = set()
    for path in (path for path in modules() if room(path) in ("report", "comparison")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names - WORDS:
                found.add((str(path.relative_to(PACKAGE)), node.value))
    assert found == NAMED


@pytest.mark.parametrize("path", sorted((PACKAGE / "commands").glob("*.py")), ids=lambda p: p.name)
def test_a_command_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("path", sorted([*modules(), *(ROOT / "tests").rglob("*.py")]), ids=lambda p: p.name)
def test_no_file_passes_500_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("family", ["ssl", "gan"])
def test_every_method_has_a_line_a_file_a_yaml_and_a_row(family):
    names = set(registry.FAMILIES[family])
    files = {path.stem: path for path in (ROOT / "conf" / family).glob("*.yaml")}
    assert names == set(files), f"gssl/config/registry.py and conf/{family}/ differ"
    docs = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `") for line in docs.splitlines() if line.startswith(f"| `{family}=")}
    assert rows == {f"{family}={name}" for name in names}, "docs/methods.md and the registry differ"
    for name, entry in registry.FAMILIES[family].items():
        cls = registry.load(entry.where)
        assert callable(getattr(cls, "update", None)) and isinstance(cls.needs, tuple) and cls.needs, name
        assert issubclass(entry.schema, schemas.Section)
        given = OmegaConf.load(files[name])["name"]
        assert given == name, f"conf/{family}/{name}.yaml says name: {given}"


@pytest.mark.parametrize("path", [p for f in ("ssl", "gan") for p in (PACKAGE / f).glob("*.py")], ids=lambda p: p.name)
def test_methods_draw_no_random_numbers_of_their_own(path):
    """torch's and NumPy's generators are no function of (seed, purpose, step)."""
    drawing = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli", "multinomial", "random"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("torch", "np"):
            assert node.attr not in drawing, f"{path.name}:{node.lineno}: use context.draws"


def test_other_names_are_there_too():
    assert set(BACKBONES) == {path.stem for path in (ROOT / "conf" / "backbone").glob("*.yaml")}
    assert set(SOURCES) == {path.stem for path in (ROOT / "conf" / "data").glob("*.yaml")}
    probes = [entry.where for entry in registry.PROBE.values()]
    for where in [*BACKBONES.values(), *(source.where for source in SOURCES.values()), *probes]:
        assert callable(registry.load(where))
    for name, command in COMMANDS.items():
        assert callable(registry.load(command.where))
        assert command.schema is schemas.commands.COMMANDS[name]


def test_every_probe_has_a_line_a_yaml_a_schema_and_a_row():
    files = {path.stem for path in (ROOT / "conf" / "probe").glob("*.yaml")} - {"default"}
    docs = (ROOT / "docs" / "transfer.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `") for line in docs.splitlines() if line.startswith("| `")}
    common = {"use", "sizes", "size_one_shot", "size_trained"}
    assert set(registry.PROBE) == files == probes.Probes.model_fields.keys() - common
    assert set(registry.PROBE) <= rows, "docs/transfer.md lacks a probe"
    for entry in registry.PROBE.values():
        whole = ("pooled", "stages", "dense", "network", "method", "menu")
        assert entry.reads in whole or entry.pooling in clips.NAMES


def sections(base=schemas.Section):
    """Every section of a configuration."""
    for found in base.__subclasses__():
        yield from (found, *sections(found))


def test_values_live_in_conf_and_never_in_a_schema():
    found = list(sections())
    assert len(found) > 60 and {schemas.Compare, ssl.SimCLR, gan.BiGAN, probes.Knn} <= set(found)
    for section in found:
        for name, field in section.model_fields.items():
            computed = section is schemas.Backbone and name in ("vocab", "hop_ms")  # no file may give them
            assert computed or field.is_required(), f"{section.__name__}.{name} has a value in the schema"


def test_every_schema_is_a_section_that_knows_no_other_key():
    for section in sections():
        assert issubclass(section, BaseModel) and section.model_config["extra"] == "forbid"
        assert section.__doc__, section


def test_no_target_in_any_config():
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", [*(ROOT / "conf/ssl").glob("*.yaml"), *(ROOT / "conf/gan").glob("*.yaml")], ids=str)
def test_a_methods_yaml_says_what_it_is_and_what_was_measured(path):
    head = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    measured = head.partition("# measured:")[2]
    assert re.search(r"\d", measured) and "gssl " in measured, (
        f"{path.name}: the head needs '# measured: …' with a figure, its command (gssl …) and the hardware"
    )
