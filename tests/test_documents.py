"""Documents name what exists: files, modules, functions, links; lines are short; words are the field's, in code too."""

import ast
import re
from pathlib import Path

import pytest

from gssl.statistics.metric import METRICS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = [
    path
    for folder, kinds in (("gssl", (".py", ".j2", ".js", ".css")), ("conf", (".yaml",)))
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in kinds
]
# Nouns with a meaning of their own in earlier versions → what is written in their place. Ordinary words are not here.
REPLACED = {
    r"worlds?": "family",
    r"judge[sd]?|judging": "evaluator or feature extractor; evaluated, scored",
    r"games?": "losses, or adversarial training",
    r"sheets?": "figure, examples or table",
    r"likeness": "similarity",
    r"imagined": "synthetic or generated",
    r"fakes": "generated images",
    r"amounts?": "label budget, or number",
    r"twins?": "duplicate, or copy",
}
# (where, what makes a line an exception)
KEPT = [
    ("", r"\bBarlow Twins\b"),
    ("gssl/", r"(permutation|generator|stored)\(.*\""),  # names of random streams, on which results rest
    ("gssl/engine/documents.py", r'"judge": "evaluator"'),  # keys of older runs
    ("gssl/config/keys.py", r"RENAMED = "),  # keys of earlier versions, answered with the new ones
]


def old_words(name: str, text: str) -> list[str]:
    """One line for each old word in a text: where it stands, which one it is, what to write."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if any(name.startswith(where) and re.search(use, line) for where, use in KEPT):
            continue
        for pattern, instead in REPLACED.items():
            if word := re.search(rf"\b({pattern})\b", line, re.I):
                found.append(f"{name}:{number}: '{word[0]}' is no term of the field here; write {instead}")
    return found


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def defined(path: Path) -> set[str]:
    """Names at the top of a module, and of its classes' members."""
    found: set[str] = set()
    for node in ast.parse(text_of(path)).body:
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.asname or alias.name for alias in node.names]
        found |= set(names)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return found


def exists(dotted: str) -> bool:
    """Whether `gssl.x.y` is a room, a module, or a name in one."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        at = ROOT.joinpath(*parts[:n])
        for file in (at.with_suffix(".py"), at / "__init__.py"):
            if file.is_file():
                return n == len(parts) or ".".join(parts[n:]) in defined(file)
    return False


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_names_of_the_code_exist(path):
    if path.name == "CHANGELOG.md":  # names what was, too
        return
    text = text_of(path)
    for name in re.findall(r"\b(?:gssl|conf|scripts|tests|docs)/[\w./-]*\w\.(?:py|yaml|md|json|sh)\b", text):
        assert "NAME" in name or (ROOT / name).is_file(), f"{path.name} names {name}, which is not there"
    for folder in re.findall(r"`((?:gssl|conf|scripts|tests|docs)/[\w/]*/)`", text):
        assert (ROOT / folder).is_dir(), f"{path.name} names {folder}, which is not there"
    for dotted in re.findall(r"\bgssl(?:\.[A-Za-z_]\w*)+(?![\w/])", text):
        assert exists(dotted), f"{path.name} names {dotted}, which is not there"


def test_a_name_that_is_not_there_is_found_out():
    assert exists("gssl.config.registry") and exists("gssl.config.registry.PROBE") and exists("gssl.method")
    assert not exists("gssl.config.registry.NOTHING") and not exists("gssl.nothing")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if target.startswith(("http:", "https:")):
            continue
        file, _, heading = target.partition("#")
        at = (path.parent / file).resolve() if file else path
        assert at.exists(), f"{path.name} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", text_of(at), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, f"{path.name} links to {target}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_lines_are_short(path):
    for number, line in enumerate(text_of(path).splitlines(), 1):
        assert len(line) <= 120 or line.startswith("|"), f"{path.name}:{number} has {len(line)} characters"


def test_words_are_the_fields():
    texts = [*CODE, *(path for path in DOCUMENTS if path.name != "CHANGELOG.md")]  # it lists old names beside new ones
    found = [line for path in texts for line in old_words(path.relative_to(ROOT).as_posix(), text_of(path))]
    assert not found, "\n".join(found)


def test_an_old_word_is_named_with_its_line_and_what_to_write():
    (message,) = old_words("gssl/a.py", "fine\nthe Judge reads images that we share\n# Barlow Twins")
    assert message.startswith("gssl/a.py:2: 'Judge' ") and "evaluator" in message
    assert old_words("gssl/metrics/b.py", 'draws.generator("judge/held")') == []


def test_every_metric_of_predictions_has_a_row_in_tasks_md():
    rows = {line.split("|")[1].strip(" `") for line in text_of(ROOT / "docs/tasks.md").splitlines() if line[:1] == "|"}
    missing = METRICS.keys() - rows
    assert not missing, f"docs/tasks.md: the table of metrics lacks {', '.join(sorted(missing))}"


def test_no_figure_in_a_document_is_a_placeholder():
    assert not [path.name for path in DOCUMENTS if "@@" in text_of(path)]
