"""Runs side by side: what differs, what follows, means over seeds, the best by direction."""

import csv
import io
import json

import pytest
import yaml

from gssl.report import run_page, run_table
from gssl.report.run_table import Run


def run(seed, value, direction="max", state="finished", name="val_knn", path=None, started="", **config):
    objective = {} if value is None else {"name": name, "value": value, "direction": direction}
    keys = {key.replace("__", "."): item for key, item in config.items()} | {"seed": seed}
    return Run(path or f"runs/{seed}-{value}", "pretrain-ssl", state, started, seed, objective, keys)


def settings(document):
    return [(tuple(row["values"].values()), row["mean"], row["n"], row["best"]) for row in document["settings"]]


def test_only_what_differs_and_means_over_seeds():
    runs = [run(seed, value, ssl__lr=lr, ssl__width=8) for lr, seed, value in
            [(0.1, 0, 0.5), (0.1, 1, 0.7), (0.2, 0, 0.8), (0.2, 1, 0.6)]]  # fmt: skip
    found = run_table.compare(runs, "title")
    assert found["keys"] == ["ssl.lr"]
    assert settings(found) == [((0.2,), pytest.approx(0.7), 2, True), ((0.1,), pytest.approx(0.6), 2, False)]
    assert found["settings"][0]["sd"] == pytest.approx(0.02**0.5)
    assert run_table.best_lines(found) == ["best (the largest val_knn): ssl.lr=0.2: 0.7 ± 0.14, 2 seeds"]


def test_small_is_better_where_the_direction_says_so():
    runs = [run(0, value, "min", name="val_kid", gan__n_dis=n) for n, value in ((1, 0.2), (2, 0.1), (3, 0.3))]
    found = run_table.compare(runs, "")
    assert [row["best"] for row in found["settings"]] == [True, False, False]
    assert found["settings"][0]["values"] == {"gan.n_dis": 2}
    assert "the smallest val_kid" in run_table.best_lines(found)[0]


def test_objectives_are_not_mixed():
    runs = [run(0, 0.9, ssl__lr=1), run(0, 0.1, "min", name="val_kid", ssl__lr=1), run(0, 0.8, ssl__lr=2)]
    found = run_table.compare(runs, "")
    best = {(row["objective"], row["mean"]) for row in found["settings"] if row["best"]}
    assert best == {("val_knn", 0.9)}  # the only one of its objective is no best
    assert {row["objective"] for row in found["settings"]} == {"val_knn", "val_kid"}


def test_keys_that_only_one_command_has_are_left_out_and_said():
    probes = {f"probe__k{i}": i for i in range(20)}
    transfer = [run(s, 0.5 + s / 10, weights=w, width=8, **probes) for s, w in ((0, "a"), (1, "b"))]
    transfer = [run_table.replace(r, command="transfer") for r in transfer]
    found = run_table.compare([run(0, 0.5, weights="random", width=16, ssl__lr=0.1), *transfer], "")
    assert found["keys"] == ["command", "weights", "width"]  # what both have and was chosen stays
    assert len(found["follows"]["command"]) == 21
    (note,) = run_table.notes(found)
    assert note.startswith("left out, for they follow command: ssl.lr, probe.k0") and note.endswith(" and 9 more")


def test_keys_that_follow_a_method_are_left_out_and_said():
    runs = [
        run(0, 0.5, ssl__name="simclr", ssl__temperature=0.2, backbone__width=8),
        run(1, 0.6, ssl__name="simclr", ssl__temperature=0.2, backbone__width=8),
        run(0, 0.7, ssl__name="vicreg", ssl__variance=25, backbone__width=16),
    ]
    found = run_table.compare(runs, "")
    assert found["keys"] == ["ssl.name", "backbone.width"]  # what was chosen beside the method stays
    assert found["follows"] == {"ssl.name": ["ssl.temperature", "ssl.variance"]}
    assert run_table.notes(found) == ["left out, for they follow ssl: ssl.temperature, ssl.variance"]
    more = [*runs, run(0, 0.4, ssl__name="simclr", ssl__temperature=0.5, backbone__width=8)]
    assert "ssl.temperature" in run_table.compare(more, "")["keys"]  # no longer one value per method


def test_what_changes_no_number_makes_no_setting():
    runs = [run(i, 0.5, engine__progress=bool(i), engine__threads=i, diagnose__map=bool(i)) for i in (0, 1)]
    found = run_table.compare(runs, "")
    assert found["keys"] == [] and found["settings"][0]["n"] == 2


def test_failed_runs_are_counted_and_have_no_value():
    runs = [run(0, 0.5, ssl__lr=1), run(1, None, state="failed", ssl__lr=1), run(0, None, state="failed", ssl__lr=2)]
    first, second = run_table.compare(runs, "")["settings"]
    assert first["states"] == {"finished": 1, "failed": 1} and first["n"] == 1 and not first["best"]
    assert second["mean"] is None and second["states"] == {"failed": 1}
    stale = run(0, 0.9, state="interrupted", ssl__lr=1)  # a result from before it was lengthened
    assert run_table.compare([stale, *runs[2:]], "")["settings"][0]["n"] == 0


def test_a_seed_counts_once_the_newest_finished():
    runs = [
        run(0, 0.5, started="1", path="a", ssl__lr=1),
        run(0, 0.7, started="2", path="b", ssl__lr=1),
        run(0, None, state="failed", started="3", path="c", ssl__lr=1),
        run(1, 0.9, started="1", path="d", ssl__lr=1),
    ]
    found = run_table.compare(runs, "")
    assert found["settings"][0]["n"] == 2 and found["settings"][0]["mean"] == pytest.approx(0.8)
    assert found["repeated"] == ["a", "c"]
    assert "2 older runs of the same setting and seed" in run_table.notes(found)[0]


def write(path, seed, value, **config):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config | {"seed": seed}))
    (path / "status.json").write_text(json.dumps({"state": "finished", "command": "transfer", "started": "1"}))
    objective = {"name": "val_linear", "value": value, "direction": "max"}
    (path / "result.json").write_text(json.dumps({"seed": seed, "method": "simclr", "objective": objective}))


def test_seeds_that_begin_with_seeds_of_a_pretraining_are_one_setting(tmp_path):
    for seed in (0, 1):
        write(tmp_path / f"pre{seed}", seed, 0.5)
        write(tmp_path / f"run{seed}", seed, 0.6 + seed / 10, weights=str(tmp_path / f"pre{seed}"))
    write(tmp_path / "random", 0, 0.3, weights="random")
    runs = [run_table.read(tmp_path / name) for name in ("run0", "run1", "random")]
    found = run_table.compare(runs, "")
    assert settings(found) == [(("simclr runs",), pytest.approx(0.65), 2, True), (("random",), 0.3, 1, False)]
    write(tmp_path / "other0", 0, 0.5)  # a second pretraining of this method and seed: the paths tell them apart
    write(tmp_path / "run2", 0, 0.1, weights=str(tmp_path / "other0"))
    runs.append(run_table.read(tmp_path / "run2"))
    assert [row["n"] for row in run_table.compare(runs, "")["settings"]] == [1, 1, 1, 1]


def test_a_job_that_failed_before_its_configuration_has_that_of_its_overrides(tmp_path):
    write(tmp_path / "0", 0, 0.5, ssl={"name": "simclr", "lr": 0.1})
    (tmp_path / "1").mkdir()
    jobs = [(tmp_path / "0", "finished", ["ssl.lr=0.1", "seed=0"]), (tmp_path / "1", "usage", ["ssl.lr=0.2", "seed=3"])]
    first, second = run_table.read_jobs(jobs)
    assert second.config == {"ssl.name": "simclr", "ssl.lr": 0.2, "seed": 0} and second.seed == 3
    assert run_table.compare([first, second], "")["settings"][1]["states"] == {"usage": 1}
    (only,) = run_table.read_jobs([(tmp_path / "1", "failed", ["ssl=vicreg", "+x.y=[1,2]"])])
    assert only.config == {"ssl": "vicreg", "x.y": [1, 2]}


def test_the_csv_has_a_line_per_setting():
    runs = [run(0, 0.5, ssl__lr=0.1, ssl__sizes=[1, 2]), run(1, 0.6, ssl__lr=0.2, ssl__sizes=[3])]
    rows = list(csv.DictReader(io.StringIO(run_table.text_csv(run_table.compare(runs, "")))))
    assert [(row["ssl.lr"], row["ssl.sizes"], row["mean"], row["best"]) for row in rows] == [
        ("0.2", "[3]", "0.6", "True"),
        ("0.1", "[1,2]", "0.5", "False"),
    ]


def test_the_page_has_the_table_the_picture_and_no_markup_of_a_value():
    runs = [run(i, 0.5 + i / 10, ssl__lr=10.0**-i, data__root="<b>") for i in range(3)]
    runs.append(run(3, None, state="failed", ssl__lr=5.0, data__root="x"))
    document = run_table.compare(runs, "Sweep <x>")
    page = run_page.render(document)
    assert "<b>" not in page.replace("<b>0.7</b>", "") and "&lt;b&gt;" in page and "Sweep &lt;x&gt;" in page
    assert page.count("<svg") == 1 and "best</td>" in page and "http" not in page
    assert "1 failed" in page


@pytest.mark.parametrize("values", [[None, None], [0.5]])
def test_where_there_is_nothing_to_choose_there_is_no_picture(values):
    runs = [run(0, v, state="finished" if v else "failed", ssl__lr=i) for i, v in enumerate(values)]
    document = run_table.compare(runs, "x")
    assert run_page.figure(document) is None and "<svg" not in run_page.render(document)


def test_many_keys_have_only_some_axes_and_that_is_said():
    keys = {f"ssl__k{i}": 0 for i in range(run_page.MOST_AXES + 2)}
    document = run_table.compare([run(0, 0.1, **keys), run(0, 0.2, **dict.fromkeys(keys, 1))], "")
    figure = run_page.figure(document)
    assert len(figure.data.columns) == run_page.MOST_AXES + 1
    assert f"The first {run_page.MOST_AXES} of {len(keys)} keys" in figure.caption
