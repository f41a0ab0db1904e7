"""What a report must show, item by item, found on the page by its own content and not by a heading."""

import html
import re
from typing import Any

import pytest

from gssl.words import points
from tests.report.documents import page


@pytest.fixture(scope="module")
def shown(full_report: dict[str, Any]) -> dict[str, str]:
    """Section → its text, without figures; title attributes count (hover and screen readers tell them)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "figures", lambda report: {})
        whole = page.render(full_report)
    parts = re.findall(r'<section id="(\w+)">(.*?)</section>', whole, flags=re.S)
    return {name: _text(body) for name, body in parts}


def _text(body: str) -> str:
    body = re.sub(r'<a class="term"[^>]*>(.*?)</a>', r"\1", body)  # a word that the glossary explains is a word
    body = re.sub(r'<span class="term"[^>]*>(.*?)</span>', r"\1", body)
    body = re.sub(r'<img[^>]*alt="([^"]*)"[^>]*>', r" \1 ", body)
    body = re.sub(r'<[^>]*title="([^"]*)"[^>]*>', r" \1 ", body)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


def rows(body: str, name: str) -> list[list[str]]:
    """The texts of the cells of the table whose CSV is called `name`, in the page's HTML."""
    table = next(
        t for t in re.findall(r"<table.*?</table>.*?data-name=\"[^\"]*\"", body, flags=re.S) if f'"{name}"' in t
    )
    lines = re.findall(r"<tr.*?</tr>", table, flags=re.S)
    return [[_text(c) for c in re.findall(r"<t[hd].*?</t[hd]>", line, flags=re.S)] for line in lines]


@pytest.fixture(scope="module")
def body(full_report: dict[str, Any]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "figures", lambda report: {})
        return page.render(full_report)


def test_every_run_failed_and_diverged_ones_too(full_report: dict[str, Any], body: str, shown: dict[str, str]) -> None:
    runs = full_report["provenance"]["runs"]
    listed = rows(body, "runs")[1:]
    assert len(listed) == len(runs) == 43
    assert sorted(line[-1] for line in listed) == sorted(r["path"] for r in runs)
    assert [line[3] for line in listed].count("failed") == 1
    assert "diverged: the loss is nan at step 41" in shown["failed"]
    stability = {line[0]: line[1:] for line in rows(body, "stability")[1:]}
    assert stability["DCGAN"] == ["3", "2", "1", "1", "0", "1"]  # runs, finished, diverged, collapsed, failed, alarms
    assert "Of 12 training runs 11 finished, 1 diverged, 1 collapsed and 0 failed" in shown["stability"]
    assert "samples are alike (mean distance 0.2" in shown["training"]


def test_trials_per_arm_and_the_selection_rule(body: str, shown: dict[str, str], full_report: dict[str, Any]) -> None:
    trials = {line[0]: line[1:4] for line in rows(body, "trials")[1:]}
    assert trials["SimCLR"] == ["4", "val_knn", "ssl.temperature=0.2"]
    assert trials["DCGAN"] == ["1", "no search", "as configured"]
    assert set(trials) == {a["title"] for a in full_report["arms"]}
    assert len(rows(body, "trials-1")) == 5
    assert "chosen by its score on validation images" in shown["searches"]
    assert "l2=0.01" in shown["scores"]  # what the probe's own selection took


def test_the_validation_score_stands_beside_each_test_score(body: str, full_report: dict[str, Any]) -> None:
    table = rows(body, "every-score")
    test, validation = table[0].index("test accuracy"), table[0].index("validation")
    want = sorted([points(r["mean"]), points(r["validation"])] for r in full_report["table"])
    assert sorted([line[test], line[validation]] for line in table[1:]) == want
    assert len(want) == 8 * 2 * 4 + 8  # arms, probes and label budgets; adapted at one of them


def test_the_ways_of_adapting_stand_side_by_side(body: str, full_report: dict[str, Any]) -> None:
    table = rows(body, "adapting")
    assert table[0] == ["arm", "adapted", "linear probe", "chosen"]
    assert [line[0].removesuffix(" control") for line in table[1:]] == [a["title"] for a in full_report["arms"]]
    told = {line[0]: line[1:] for line in table[1:]}
    by = {(r["arm"], r["probe"]): r for r in full_report["table"] if r["label_budget"] == "10"}
    for probe, cell in zip(("adapted", "linear"), told["SimCLR"], strict=False):
        assert points(by["simclr", probe]["mean"]) in cell
    assert told["SimCLR"][2] == "linear probe in 6 of 9, fine-tuning in 3 of 9"
    assert told["raw pixels"][2] == "linear probe in 9 of 9"


def test_what_was_on_record_and_what_was_changed(shown: dict[str, str], full_report: dict[str, Any]) -> None:
    told, plan = shown["plan"], full_report["preregistration"]
    for text in (plan["text"], plan["changes"][0]["text"], plan["hash"], full_report["openings"]["text"]):
        assert text in told and text
    assert "2 looks, at 2 and 3 seeds; the test of this one is held to a level of .009" in told
    but = "But some test images are known from training and the plan was changed after scores were there: see the"
    assert but in shown["verdict"]


def test_every_finding_and_every_change_is_a_caution(shown: dict[str, str], full_report: dict[str, Any]) -> None:
    cautions = full_report["verdict"]["cautions"]
    texts = [found["text"] for found in [*full_report["findings"], *full_report["preregistration"]["changes"]]]
    assert len(texts) > 2 and set(texts) <= set(cautions)
    assert all(text in shown["verdict"] for text in cautions)


def test_hashes_of_the_split_the_label_subsets_and_the_checkpoints(
    body: str, shown: dict[str, str], full_report: dict[str, Any]
) -> None:
    provenance = full_report["provenance"]
    assert "d" * 16 in shown["provenance"]
    subsets = rows(body, "subsets")
    assert len(subsets) - 1 == len(provenance["subsets"]) == 12  # three seeds, four label budgets
    assert {line[3] for line in subsets[1:]} == {s["hash"] for s in provenance["subsets"]}
    assert "All arms of a seed were given the same" in shown["provenance"]
    hashes = {h for r in provenance["runs"] for h in r["weights"].values()}
    assert len(hashes) > 8
    assert all(h in shown["provenance"] for h in hashes)


@pytest.mark.long
def test_a_label_subset_that_differs_between_arms_is_told(full_report: dict[str, Any]) -> None:
    told = [s | {"same": s["label_budget"] != "10"} for s in full_report["provenance"]["subsets"]]
    report = full_report | {"provenance": full_report["provenance"] | {"subsets": told}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "figures", lambda report: {})
        assert "Not all arms of a seed were given the same" in _text(page.render(report))


def test_anything_pretrained_and_the_keys_of_its_weights(body: str, shown: dict[str, str]) -> None:
    told = shown["provenance"]
    assert "Pretrained elsewhere" in told
    assert "resnet18.IMAGENET1K_V1" in told
    assert "f37072fd".ljust(64, "0") in told
    assert "120 / 1 / 2" in told  # loaded / missing / unexpected
    assert "missing: stem.scale unexpected: fc.weight, fc.bias" in told
    assert "24 / 0 / 0" in told


def test_interval_method_n_and_what_varies(shown: dict[str, str]) -> None:
    assert "95% intervals over 2 to 3 seeds and 1,000 test images" in shown["scores"]
    assert "cover other seeds (first weights, order of the images, which images are labelled)" in shown["limitations"]
    assert "do not cover another choice of the images for training" in shown["limitations"]
    assert "95% intervals (over seeds)" in shown["generation"]


def test_the_paired_difference_not_two_bars(full_report: dict[str, Any], body: str) -> None:
    primary = [d for d in full_report["differences"] if d["family"] == "primary"]
    table = rows(body, "differences-primary")
    assert table[0] == [
        "pair", "difference", "95% interval", "for all together", "outcome", "against 0.5 points",
        "p", "p, adjusted", "from test images", "effect size", "seeds",
    ]  # fmt: skip
    assert len(table) == 4
    for line, d in zip(table[1:], primary, strict=True):
        assert line[1].endswith(points(d["mean"], sign=True))
        assert line[2] == f"{points(d['interval']['low'])} to {points(d['interval']['high'])}"
        wide = d["simultaneous"]
        assert line[3] == f"{points(wide['low'])} to {points(wide['high'])} 98.3%"
        assert line[8] == f"{100 * d['item_share']:.0f}%"
        assert line[9] == f"{d['effect_size']:.1f}".replace("-", "−")
        assert line[10] == str(d["n_seeds"])
    assert [line[4:6] for line in table[1:]] == [
        ["no difference shown", "undecided"],
        ["SimCLR ahead, not tested", "at least 0.5"],
        ["no difference shown", "undecided"],
    ]
    generated = rows(body, "differences-generation")
    assert [line[1] for line in generated[1:]] == ["kid", "coverage"]


def test_the_compute_table(full_report: dict[str, Any], body: str, shown: dict[str, str]) -> None:
    table = rows(body, "cost")
    assert table[0][:5] == ["arm", "FLOPs", "images", "wall time", "peak memory"]
    spent = {line[0]: line for line in table[1:]}
    assert set(spent) == {"SimCLR", "DCGAN", "SNGAN", "supervised"}
    assert "3.2 TFLOP" in spent["SimCLR"][1]
    assert "66,560" in spent["SimCLR"][2]
    assert "584 MiB" in spent["SimCLR"][4]
    assert "12.8 TFLOP" in " ".join(spent["SimCLR"])  # its search, beside it
    assert "3.2 TFLOPs of training per run" in shown["compute"]
    assert "The largest deviation of a run from the budget is 0.4% (DCGAN)." in shown["compute"]
    assert len(rows(body, "stages")) > len(table)


def test_hardware_versions_determinism_revision_and_commands(
    full_report: dict[str, Any], shown: dict[str, str], body: str
) -> None:
    told = shown["provenance"]
    for item in ("Example CPU 9000", "torch 2.14.1", "python 3.11.9", "gssl 0.1.0", "cores 2", "0123456789ab"):
        assert item in told, item
    assert "determinism.algorithms True" in told
    assert full_report["provenance"]["command"] in shown["commands"]
    commands = [r["command"] for r in full_report["provenance"]["runs"]]
    assert all(command in shown["commands"] for command in commands)
    table = rows(body, "runs")
    differs = {line[0]: line[table[0].index("differs in")] for line in table[1:] if line[2] == "pretrain"}
    assert "ssl.name=simclr" in differs["SimCLR"]
    assert {line[table[0].index("wall time")] for line in table[1:]} == {"63.0 s"}


def test_metric_settings_floors_and_controls(full_report: dict[str, Any], body: str, shown: dict[str, str]) -> None:
    assert "evaluator own-classifier, 1,000 generated images against the test split" in shown["generation"]
    table = rows(body, "generation")
    assert table[0][:3] == ["arm", "KID ↓", "Fréchet distance ↓"]
    assert table[-1] == ["real-vs-real baseline", "0.0004", "1.1", "0.96", "0.05"]
    judged = rows(body, "every-generation")
    assert {tuple(line[-3:]) for line in judged[1:]} == {("own-classifier", "test", "1,000")}
    primary = full_report["primary"]["probe"], full_report["primary"]["label_budget"]
    for name in ("random", "pixels"):
        row = next(r for r in full_report["table"] if (r["arm"], r["probe"], r["label_budget"]) == (name, *primary))
        assert f"{points(row['mean'])}%" in shown["controls"]
    assert "KID 0.0004" in shown["controls"]


def test_pictures_of_every_kind(shown: dict[str, str]) -> None:
    assert "Grid of images generated by DCGAN, seed 0" in shown["generation"]
    assert "Generated images beside their nearest training images, by SNGAN, seed 0" in shown["generation"]
    assert "Map of test images in two dimensions by the features of SimCLR, seed 0" in shown["pictures"]


def test_what_would_increase_confidence(full_report: dict[str, Any], body: str) -> None:
    table = rows(body, "needed")
    assert len(table) - 1 == len(full_report["needs"]) == 3
    for line, n in zip(table[1:], full_report["needs"], strict=True):
        assert line[2:5] == [points(n["now"]), points(n["half"]), f"{100 * n['item_share']:.0f}"]
        assert line[7] == ("yes" if n["now"] <= n["half"] else "no")
    assert table[2][5:7] == [str(full_report["needs"][1]["seeds"]), str(full_report["needs"][1]["items"])]


def test_limitations(full_report: dict[str, Any], shown: dict[str, str]) -> None:
    assert len(full_report["limitations"]) > 4
    assert all(" ".join(text.split()) in shown["limitations"] for text in full_report["limitations"])
