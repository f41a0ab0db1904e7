"""The page, the Markdown and the document on disk."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gssl.report import figures, score_figures, wording
from gssl.report.collect import read_runs
from gssl.report.model_records import RunRecord
from gssl.statistics.paired import Interval
from tests.report.documents import build, markdown, page, tex, typed, views

Reports = Callable[..., dict[str, Any]]
HOSTILE = '<script>alert("x")</script>$\\frac{1}{0}$ & {{ 7*7 }} | `rm` "quoted"'
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Checks that tags nest, and collects texts, ids, references and images."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script" and "type" not in found  # JSON is none
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.links += [str(found[k]) for k in ("src", "href", "xlink:href", "action", "data") if found.get(k)]
        if tag == "img":
            self.images.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a page's time, and most tests do not look at them."""
    monkeypatch.setattr(page.module, "figures", lambda report: {})


@pytest.fixture(scope="module")
def html(report_of: Reports) -> str:
    return page.render(report_of(3))


def test_every_section_is_there_and_the_verdict_comes_first(html: str, report_of: Reports) -> None:
    found = re.findall(r'<section id="(\w+)">', html)
    assert found == [
        "verdict", "confidence", "scores", "labels", "progress", "generation", "differences", "training", "controls",
        "compute", "stability", "failed", "searches", "plan", "commands", "provenance", "limitations", "glossary",
    ]  # fmt: skip
    shown = " ".join("".join(read(html[html.index("<main") : html.index("<script>")]).text).split())
    report = report_of(3)
    question = report["question"]
    # the question, the answer in a word, then in a sentence
    assert shown.startswith(f"{question} {views.short(report)} {views.headline(report)} Confidence: ")
    assert f"{views.short(report)}: {views.headline(report)}".lower() == report["verdict"]["headline"].lower()
    told = [
        shown.index(text) for text in ("Confidence: ", "What to do", "Test images 1,000", "Dots: seeds", "Cautions")
    ]
    assert told == sorted(told)
    assert "Produced by gssl" in shown


def test_it_needs_no_network(html: str) -> None:
    reader = read(html)
    assert all(link.startswith(("#", "data:")) for link in reader.links), reader.links[:5]
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_ids_are_unique_and_every_reference_resolves(html: str) -> None:
    reader = read(html)
    assert len(reader.ids) == len(set(reader.ids))
    local = {link[1:] for link in reader.links if link.startswith("#")}
    local |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert local
    assert local <= set(reader.ids)


def test_figures_follow_the_colours_of_the_page(html: str, report_of: Reports) -> None:
    svgs = re.findall(r"<svg.*?</svg>", html, flags=re.S)
    drawn = figures.figures(typed(report_of(3)))
    assert len(svgs) == len(drawn) >= 6  # each once
    for svg in svgs:
        assert "var(--muted)" in svg
        assert '<circle class="hit"' in svg  # what speaks under a pointer
        assert "<style" not in svg  # it would be the whole page's
        assert set(re.findall(r"#[0-9a-f]{6}", svg)) <= {"#ffffff", "#000000"}  # clip paths and defaults
        assert "<text" in svg  # text stays text
        assert not re.search(r"(fill|stroke): #(000000|ffffff)", svg)
    assert "prefers-color-scheme:dark" in html


def test_samples_are_inline_with_alt_texts(html: str) -> None:
    images = read(html).images
    assert len(images) == 3
    assert all(str(i["src"]).startswith("data:image/png;base64,iVBOR") for i in images)
    assert images[0]["alt"] == "Grid of images generated by DCGAN, seed 0"
    assert images[0]["width"] == "144"  # the last grid, not the first, smaller one
    assert "image-rendering:pixelated" in html
    assert 'aria-label="Test accuracy in percent' in html


@pytest.mark.long
def test_hostile_names_stay_text(report_of: Reports) -> None:
    report = copy.deepcopy(report_of(3, fail=[("dcgan", 2)]))
    quoted = json.dumps(HOSTILE)
    text = json.dumps(report).replace('"dcgan"', quoted).replace("SimCLR", quoted[1:-1])
    report = json.loads(text)
    report["failed"][0]["error"] = report["question"] = HOSTILE
    report["provenance"]["command"] = HOSTILE + "\n```\n# not a title"
    out = page.render(report)
    reader = read(out)
    assert reader.scripts == 1
    assert 'alert("x")' in "".join(reader.text)
    assert "{{ 7*7 }}" in out
    md = markdown.render(report)
    assert "<script>" not in md.split("````sh")[0]
    assert "````sh\n" in md  # the fence is longer than any in the command
    rows = [line for line in md.splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:8]}) == 1


def test_failed_and_missing_parts_are_shown(report_of: Reports, no_figures: None) -> None:
    report = report_of(3, fail=[("dcgan", 2)], plan={"failed": [
        {"arm": "simclr", "seed": 9, "stage": "pretrain", "error": "worker died"}]})  # fmt: skip
    out = page.render(report)
    section = out[out.index('<section id="failed">') : out.index('<section id="searches">')]
    section = re.sub(r"</?a\b[^>]*>", "", section)
    for text in ("loss is nan at step 41", "worker died", "SimCLR, seed 9", "DCGAN, seed 2"):
        assert text in section
    assert "loss is nan at step 41" in markdown.render(report)


def test_commands_are_exact(html: str, report_of: Reports) -> None:
    text = "".join(read(html).text)
    assert "gssl compare arms=[simclr,dcgan,scratch,random,pixels,supervised] seeds=3 experiment=demo" in text
    assert "gssl train-gan gan=dcgan seed=1 budget.seconds=60" in text
    assert sum(bool(r["command"]) for r in report_of(3)["provenance"]["runs"]) == 27


def test_written_files_hold_the_same_report(report_of: Reports, tmp_path: Path, no_figures: None) -> None:
    report = report_of(3)
    path = page.write(report, tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "report.html", "report.json", "report.md", "report.tex",
    ]  # fmt: skip
    again = json.loads((path.parent / "report.json").read_text())
    assert again == report
    assert again["schema"] == "gssl.report/4"
    # The page is made from the document alone.
    assert page.render(again) == path.read_text()
    assert (path.parent / "report.md").read_text() == markdown.render(again)
    assert (path.parent / "report.tex").read_text() == tex.render(again)


def test_markdown_says_the_same(report_of: Reports) -> None:
    report = report_of(3)
    md = markdown.render(report)
    lines = md.splitlines()
    assert lines[2].strip("*").replace("\\", "") == report["verdict"]["headline"]
    assert lines[4] == f"**What to do:** {report['advice']['sentences'][0]}"
    assert "> Three seeds cannot establish" in md
    assert "| raw pixels (control) |" in md
    assert "supervised (reference, not ranked)" in md
    assert "## What this does not show" in md


def test_diverged_numbers_become_null_and_still_draw(fake: ModuleType, tmp_path: Path) -> None:
    path = fake.pretrain(tmp_path, "simclr", 0)
    with (path / "metrics.jsonl").open("w") as file:
        rows = [{"step": s, "images": s, "loss": v} for s, v in enumerate((2.0, 1.5, None, 1.0))]  # as a run writes NaN
        file.write("\n".join(json.dumps(r) for r in rows))
    report = build(read_runs([path]), {})
    assert report["curves"][0]["value"] == [2.0, 1.5, None, 1.0]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert "simclr loss" in page.render(report).lower()


def test_one_label_budget_no_curves_no_controls_still_renders(fake: ModuleType, tmp_path: Path) -> None:
    path = fake.transfer(tmp_path, "scratch", 0, label_budgets=[10])
    out = page.render(build(read_runs([path]), {}))
    read(out)
    assert "there is no curve" in out
    assert "ran without controls" in out
    assert "No training curves" in out


@pytest.mark.long
def test_forty_runs_stay_small(fake: ModuleType, tmp_path: Path) -> None:
    """Per run, so that hundreds of them stay below 10 MB (measured by scripts/bench/report_size.py)."""
    arms = ("simclr", "dcgan", "random")
    report = build(read_runs(fake.make(tmp_path, seeds=8, arms=arms)), fake.plan(8, arms))
    n = len(report["provenance"]["runs"])
    assert n == 40
    out = page.render(report)
    assert len(out) < 400_000 + 20_000 * n
    assert len(read(out).images) == 8
    section = out[out.index('<section id="provenance">') :]
    assert all(r["path"] in section for r in report["provenance"]["runs"])  # every run is in the tables


def test_many_lines_have_fewer_points_each() -> None:
    assert figures.thinned(200, 1) == list(range(200))
    kept = figures.thinned(200, 1000)
    assert len(kept) == 10
    assert (kept[0], kept[-1]) == (0, 199)


def test_numbers_in_figures_stay_whole(report_of: Reports) -> None:
    """Places are cut to a hundredth of a point; an arm's settings and a tick's label are not."""
    report = copy.deepcopy(report_of(1))
    next(a for a in report["arms"] if a["name"] == "dcgan")["title"] = "DCGAN (lr=0.00125)"
    svg = score_figures.primary(typed(report)).svg()
    assert ">DCGAN (lr=0.00125)</text>" in svg
    assert not re.search(r'd="[^"]*\d\.\d{3}', svg)


def test_pictures_beyond_the_limit_are_named(report_of: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(3)
    one = len(report["samples"][0]["png"])
    monkeypatch.setattr(views.module, "MOST_PICTURES", 2 * one + 100)
    monkeypatch.setattr(page.module, "figures", lambda report: {})
    out = page.render(report)
    assert len(read(out).images) == 2
    assert "step-00001380.png is not shown here" in out


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.8312, "83.1"),
        ("kid", -0.01234, "−0.0123"),
        ("coverage", 0.5, "0.5"),
        ("gan_train", 0.5, "50.0"),
        ("flops", 3.2e12, "3.2 TFLOP"),
        ("memory", 2**30, "1,024 MiB"),
        ("seconds", 61.5, "61.5 s"),
        ("seconds", 7200, "2.0 h"),
        ("kid", None, "–"),
    ],
)
def test_values_are_written_in_their_unit(metric: str, value: float | None, text: str) -> None:
    assert wording.shown(metric, value) == text


def test_an_interval_names_its_unit_once() -> None:
    assert wording.reach("flops", Interval(0, 3.19e12, 3.22e12)) == "3.19 to 3.22 TFLOP"
    assert wording.reach("flops", Interval(0, 9e11, 1.1e12)) == "900 GFLOP to 1.1 TFLOP"
    assert wording.reach("images", Interval(5, 5, 5)) == ""
    assert wording.reach("accuracy", Interval(0, -0.013, 0.02)) == "−1.3 to 2.0"


@pytest.mark.parametrize(
    ("budget", "spent", "told"),
    [
        ({"unit": "flops", "value": 100.0, "text": ""}, {"a": (101, 100), "b": (98, 100)}, "is 2% (B)"),
        (
            {"unit": "steps", "value": 7.0, "text": ""},
            {"a": (104, 106), "b": (100, 100)},
            "A spent 5% more FLOPs than B",
        ),
        (None, {"a": (100, 100), "b": (100, 100)}, "All trained arms spent equal FLOPs"),
        (None, {"a": (100,)}, ""),
    ],
)
def test_the_largest_deviation_from_an_equal_budget(budget: Any, spent: dict[str, Any], told: str) -> None:
    report = build([], {"arms": list(spent), "titles": {n: n.upper() for n in spent}, "pairs": [], "budget": budget})
    for arm in report["arms"]:
        arm["stages"] = [{"method": "simclr", "command": None, "fraction": 1.0}]
    report["cost"] = [
        {"arm": n, "metric": "flops", "label": "", "mean": sum(v) / len(v), "interval": None, "n_seeds": len(v)}
        | {"per_seed": {str(seed): value for seed, value in enumerate(v)}}
        for n, v in spent.items()
    ]
    found = views.deviation(report)
    assert told in found
    assert bool(told) == bool(found)


def test_stages_of_a_chain_show_their_fractions() -> None:
    report = build([], {"arms": ["a"], "pairs": []})
    report["arms"][0]["stages"] = [
        {"method": "simclr", "command": "pretrain-ssl", "fraction": 0.25, "seconds": 12.0},
        {"method": "dcgan", "command": "train-gan", "fraction": 0.75},
    ]
    assert views._stages(typed(report).arms[0]) == "simclr 25% (12.0 s) → dcgan 75%"


def test_the_room_never_imports_torch_and_claims_need_no_plots() -> None:
    code = (
        "import sys, gssl.report.page, gssl.report.claims; "
        "bad = {'torch', 'matplotlib', 'scipy', 'jinja2'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_networks_that_were_filled_are_counted():
    """Random networks and pixels have a load report too: an empty one."""
    reports = [{"loaded": 0, "missing": [], "unexpected": []}, {"loaded": 3, "missing": ["a"], "unexpected": []}, None]
    report = typed(build([], {"arms": ["a"], "pairs": []}))
    run = dict.fromkeys(RunRecord.model_fields) | {"arm": "a", "stage": "", "state": "", "path": "", "command": ""}
    run |= {"weights": {}, "config": {}}
    report.provenance.runs = [RunRecord.model_validate(run | {"load_report": found}) for found in reports]
    assert views.module.loads(report) == {"runs": 1, "partial": 1}


def test_generated_images_have_a_sentence_on_the_page_and_in_markdown(
    full_report: dict[str, Any], no_figures: None
) -> None:
    arm = next(row["arm"] for row in full_report["generation"])
    assert full_report["generation_quality"] == []  # the evaluations of this document measured no controls
    note = "Precision 0.95 is above that of real images (0.80) while recall is below theirs."
    said = {"arm": arm, "grade": "bad", "text": "bad: farther from the test images than mush.", "notes": [note]}
    report = full_report | {"generation_quality": [said]}
    whole = page.render(report)
    section = whole.split('<section id="generation">')[1].split("</section>")[0]
    reader = Reader()
    reader.feed(section)
    text = " ".join(" ".join(reader.text).split())
    assert "bad" in text and "farther from the test images than mush" in text and "is above that of real images" in text
    assert "bad: farther from the test images than mush." in markdown.render(report)
