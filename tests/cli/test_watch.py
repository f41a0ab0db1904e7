"""`gssl watch`: frames of running, finished and failed runs, of comparisons, without a terminal."""

import fcntl
import json
import subprocess
import sys

import pytest
import yaml
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from gssl.cli import app, watch


def gssl(*args):
    return CliRunner().invoke(app, list(map(str, args)))


def write(path, state="running", command="train-gan", started="2026-01-01T00:00:00+00:00", steps=4, **status):
    path.mkdir(parents=True)
    document = {"schema": "gssl.status/1", "command": command, "state": state, "step": 0, "started": started}
    (path / "status.json").write_text(json.dumps(document | {"ended": None, "error": None} | status))
    config = {"gan": {"name": "dcgan"}, "data": {"name": "mnist5k"}, "seed": 2}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    entries = [{"step": i, "lr": 0.1, "loss": 2.0 - i / 10, "kid": 0.5} for i in range(1, steps)]
    entries += [{"step": 0, "val_kid": 0.5, "val_kid_low": 0.4}, {"step": steps, "val_kid": 0.25, "val_kid_low": 0.2}]
    text = "".join(json.dumps(e) + "\n" for e in entries) + '{"step": 9, "lo'  # a line that is being written
    (path / "metrics.jsonl").write_text(text)
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


class Held:
    """A living process works on a run."""

    def __init__(self, run):
        self.run = run

    def __enter__(self):
        self.lock = (self.run / ".lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.lock.close()


def test_a_running_run(runs):
    run = write(runs / "a")
    record = {"title": "dcgan seed 2", "step": 40, "total": 100, "progress": 0.4, "eta": 75, "images_per_second": 512.0}
    record["whole"] = True
    (run / "progress.json").write_text(json.dumps(record | {"loss": 1.5}))
    with Held(run):
        done = gssl("watch", "runs/a", "--once")
    assert done.exit_code == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("runs/a · train-gan · dcgan · mnist5k · seed 2 · running · started ")
    assert rest[0] == "dcgan seed 2"
    assert "40% · step 40 of 100 · 512 img/s · 1:15 left · loss 1.5" in rest[1] and "████" in rest[1]
    text = done.stdout
    assert "loss: 1.7 at step 3" in text and "val_kid: 0.25 at step 4" in text
    assert any("⠀" < letter <= "⣿" for letter in text)
    assert "val_kid_low" not in text and "lr:" not in text
    assert text.index("loss:") < text.index("val_kid:") < text.index("kid: 0.5")


def test_a_failed_one_says_why(runs):
    run = write(runs / "a", "failed", error="JobError: diverged")
    (run / "metrics.jsonl").write_text('{"step": 3, "alarm": "the discriminator always wins"}\n')
    text = gssl("watch", "runs/a", "--once").stdout
    assert "error: JobError: diverged (runs/a/log.txt)" in text and "alarm at step 3: the discriminator always" in text
    assert "no curve yet" in text


def test_a_finished_one_has_its_objective(runs):
    run = write(runs / "a", "finished")
    result = {"objective": {"name": "val_kid", "value": 0.25, "direction": "min"}}
    (run / "result.json").write_text(json.dumps(result))
    assert gssl("watch", "runs/a").stdout.rstrip().endswith("val_kid 0.25 ↓")  # no terminal: one frame


def test_the_newest_picture_is_drawn_in_colours(runs):
    run = write(runs / "a", "finished")
    (run / "samples").mkdir()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(run / "samples" / "step-00000001.png")
    newest = Image.new("RGB", (6, 4), (200, 0, 0))
    newest.paste((0, 0, 200), (0, 1, 6, 2))
    newest.paste((0, 0, 200), (0, 3, 6, 4))
    newest.save(run / "samples" / "step-00000002.png")
    console = Console(width=300, force_terminal=True, color_system="truecolor", highlight=False)
    with console.capture() as said:
        console.print(watch.frame(run, 300, True))
    text = said.get()
    assert "step-00000002.png" in text and "step-00000001.png" not in text
    assert text.count("▀") == 12  # 6 x 4 pixels, two each
    assert "38;2;200;0;0" in text and "48;2;0;0;200" in text
    assert "▀" not in gssl("watch", "runs/a", "--once").stdout
    (run / "samples" / "step-00000003.png").write_bytes(b"half a pict")
    assert watch.picture(run / "samples" / "step-00000003.png", 10) is None


def test_without_a_name_it_is_the_newest_that_runs(runs):
    write(runs / "new", "finished", started="2026-01-03T00:00:00+00:00")
    old = write(runs / "old", started="2026-01-01T00:00:00+00:00")
    part = write(runs / "parts" / "p", started="2026-01-02T00:00:00+00:00")
    (part / "part.json").touch()
    assert gssl("watch", "--once").stdout.startswith("runs/new")  # none has a living process
    with Held(old), Held(part):
        assert gssl("watch", "--once").stdout.startswith("runs/old")
    with Held(part):
        assert gssl("watch", "--once").stdout.startswith("runs/parts/p")


def test_a_comparison_has_its_parts(runs):
    run = write(runs / "c", command="compare")
    paths = {name: runs / "parts" / name for name in ("done", "now", "bad", "later")}
    (run / "parts.json").write_text(json.dumps({"parts": [{"path": str(path)} for path in paths.values()]}))
    done = write(paths["done"], "finished")
    (done / "result.json").write_text(json.dumps({"objective": {"name": "val_knn", "value": 0.5}}))
    now, _ = write(paths["now"]), write(paths["bad"], "failed")
    (now / "progress.json").write_text(json.dumps({"progress": 0.25, "loss": 1.25}))
    with Held(run), Held(now):
        text = gssl("watch", "runs/c", "--once").stdout
    assert "1 of 4 parts finished, 1 not begun" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    assert "running 25%" in rows["now"] and "1.25" in rows["now"]
    assert "failed" in rows["bad"] and "val_knn 0.5" in rows["done"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere", "--once"], "nowhere: no run directory (it has no status.json)"),
        (["--once"], "no directory runs; name a run"),
        (["--once", "--root", "."], "no run below ."),
    ],
)
def test_usage_errors(runs, args, said):
    done = gssl("watch", *args)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


@pytest.mark.long
def test_torch_is_not_imported(runs):
    write(runs / "a")
    code = "import sys; from gssl.cli import app; app(['watch', '--once'], standalone_mode=False);"
    code += " sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=runs.parent).returncode == 0


def test_a_run_whose_files_say_little(runs):
    run = write(runs / "a", "finished", started=None)
    (run / "metrics.jsonl").write_text('3\n{"loss": 1}\n{"alarm": "odd"}\n{"step": 1, "loss": 2}\n')
    (run / "result.json").write_text('{"objective": {"name": "val_kid", "value": 0.5}}')
    (run / "progress.json").write_text("[]")
    shown = gssl("watch", "runs/a", "--once")
    assert shown.exit_code == 0, shown.exception
    assert "started" not in shown.stdout and "alarm at step –: odd" in shown.stdout and "val_kid 0.5" in shown.stdout


def test_a_directory_of_runs_is_no_run_but_holds_some(runs):
    write(runs / "a")
    assert "gssl watch --root runs takes the newest inside" in gssl("watch", "runs", "--once").stderr


@pytest.mark.parametrize("height", [18, 24, 40])
def test_a_live_frame_fits_into_the_terminal(runs, height):
    run = write(runs / "a", steps=6)
    lines = [{"step": i, **{f"k{j}": i * j for j in range(9)}} for i in range(4)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "samples").mkdir()
    Image.new("RGB", (64, 96)).save(run / "samples" / "1.png")
    console = Console(width=60, height=height, record=True)
    drawn = console.render_lines(watch.frame(run, 60, True, height))
    text = "".join(segment.text for line in drawn for segment in line)
    assert len(drawn) <= height and "▀" in text and "k0" in text
    assert len(console.render_lines(watch.frame(run, 60, True))) > 40  # all of it, once it is over
