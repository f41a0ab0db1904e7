"""No choosing code can reach the test images: not by a name in the source, not by any reference at run time."""

import ast
import gc
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from gssl.commands import transfer
from gssl.data import Images, Splits
from gssl.engine.files import read_json
from gssl.experiment import probing as judging

PACKAGE = Path(transfer.__file__).parents[1]
# who may: the run that evaluates, once; `gssl evaluate`, where it was asked for the test split by name; and the model
# at the end of a comparison, which learns from all labelled images when the report is written
OPENERS = {
    "commands/transfer.py": 1,
    "experiment/generation.py": 1,
    "comparison/recommended.py": 1,
}


def places(name: str) -> dict[str, int]:
    """File → how often the attribute `name` stands in it."""
    found: dict[str, int] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None  # getattr(splits, "open_test")
            if (isinstance(node, ast.Attribute) and node.attr == name) or text == name:
                key = path.relative_to(PACKAGE).as_posix()
                found[key] = found.get(key, 0) + 1
    return found


def test_one_line_in_all_of_gssl_opens_the_test_set_to_judge():
    assert places("open_test") == OPENERS
    assert set(places("_test")) <= {"data/splits.py"}


def reachable(root: object) -> list[object]:
    """Every object that `root` leads to: by attributes, containers, closures, methods; not by modules and classes."""
    seen: dict[int, object] = {}
    queue = [root]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, types.ModuleType | type | str | bytes | int | float):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, torch.Tensor):
            continue
        if isinstance(thing, types.FunctionType):  # not its globals: those are the module's
            queue += [cell.cell_contents for cell in thing.__closure__ or ()] + list(thing.__defaults__ or ())
            continue
        queue += gc.get_referents(thing)
    return list(seen.values())


def leads_to_test(root: object, test: Images) -> list[object]:
    """What of the test split `root` leads to: a Splits, its Images, or any array of its labels, rows or names."""
    labels = test.labels.tobytes()

    def theirs(thing: object) -> bool:
        if isinstance(thing, Splits) or thing is test:
            return True
        if isinstance(thing, Images):
            return bool(set(thing.image_hashes().tolist()) & set(test.image_hashes().tolist()))
        values = thing.numpy(force=True) if isinstance(thing, torch.Tensor) else thing
        return isinstance(values, np.ndarray) and values.shape == test.labels.shape and values.tobytes() == labels

    return [thing for thing in reachable(root) if theirs(thing)]


@pytest.fixture
def watched(monkeypatch):
    """The splits of the next run, and what its judge and fitted probes led to when the choices were made."""
    known: dict[str, object] = {}
    load, fit = transfer.load_data, judging.Prober.fit

    def loading(*args, **kwargs):
        known["splits"] = load(*args, **kwargs)
        return known["splits"]

    def fitting(self):
        known["before"] = leads_to_test(self, known["splits"]._test)
        made = list(fit(self))
        known["after"] = leads_to_test([self, made], known["splits"]._test)
        yield from made

    monkeypatch.setattr(transfer, "load_data", loading)
    monkeypatch.setattr(judging.Prober, "fit", fitting)
    return known


ALL = "probe.use=[knn,linear,linear_multilayer,fewshot,cluster,finetune,fixmatch,adapted]"


def test_nothing_that_chooses_leads_to_the_test_images(tiny, tmp_path, watched):
    transfer.main(tiny("transfer", "weights=random", ALL), tmp_path / "run")
    assert watched["before"] == [] == watched["after"]
    assert watched["splits"].test_openings == 1 == read_json(tmp_path / "run" / "result.json")["test_openings"]


def test_the_search_would_find_them(tiny, tmp_path, watched, monkeypatch):
    """A probe that kept the splits, however deep, is found out."""
    init = judging.Prober.__init__

    def keeping(self, *args, **kwargs):
        init(self, *args, **kwargs)
        splits = watched["splits"]
        self.hidden = {"deep": [lambda: splits]}

    monkeypatch.setattr(judging.Prober, "__init__", keeping)
    transfer.main(tiny("transfer", "weights=random", "probe.use=[knn]"), tmp_path / "run")
    assert any(isinstance(thing, Splits) for thing in watched["before"])
    held = watched["splits"]._test
    for copy in (held.labels.copy(), torch.from_numpy(held.labels.copy()), held.subset(np.array([3, 1]))):
        assert leads_to_test({"a": [copy]}, held)
    assert not leads_to_test(watched["splits"].labelled, held)
