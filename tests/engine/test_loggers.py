"""Loggers: what each package is told, through stand-ins for those that are large; a missing one, a failing one."""

import sys
import types

import pytest

from gssl.commands import pretrain_ssl
from gssl.engine import loggers
from gssl.engine.loggers import About, Loggers
from gssl.errors import UsageError
from gssl.schemas import section


class Recorder:
    """Takes every call, and says which there were."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return self

        return call

    def named(self, name):
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


@pytest.fixture
def about(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody has logged in
    return About(tmp_path / "sweep" / "3", "pretrain-ssl", {"ssl.lr": 0.1, "seed": 3}, "2026-01-01", 0)


@pytest.fixture
def wandb(monkeypatch):
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def trackio(monkeypatch):
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "trackio", fake)
    return fake


class Client(Recorder):
    """MLflow's client with one store of runs."""

    runs: list = []

    def get_experiment_by_name(self, name):
        return types.SimpleNamespace(experiment_id="7") if name == "known" else None

    def create_experiment(self, name):
        self.calls.append(("create_experiment", (name,), {}))
        return "8"

    def search_runs(self, where, text, max_results):
        return [run for run in self.runs if run.tags["gssl.id"] in text]

    def create_run(self, where, tags, run_name):
        run = types.SimpleNamespace(tags=tags, info=types.SimpleNamespace(run_id=f"run {len(self.runs)}"))
        self.runs.append(run)
        self.calls.append(("create_run", (where, run_name), tags))
        return run


@pytest.fixture
def mlflow(monkeypatch):
    clients = []

    def client():
        clients.append(Client())
        return clients[-1]

    fake = types.ModuleType("mlflow")
    fake.MlflowClient = client
    fake.entities = types.ModuleType("mlflow.entities")
    fake.entities.Metric = fake.entities.Param = lambda *values: values
    monkeypatch.setattr(Client, "runs", [])
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", fake.entities)
    return clients


def test_wandb_is_offline_where_nobody_has_logged_in(wandb, about, monkeypatch, capsys):
    log = Loggers(["wandb"], about)
    log.add(4, {"step": 4, "loss": 1.5, "state": "x", "nan": float("nan"), "alarm": True, "n": 2})
    log.close("failed")
    ((_, given),) = wandb.named("init")
    assert (given["mode"], given["project"], given["name"]) == ("offline", "gssl", "sweep/3")
    assert given["config"] == about.config and given["dir"] == str(about.path)
    assert wandb.named("log") == [(({"loss": 1.5, "n": 2.0},), {"step": 4})]
    assert wandb.named("finish") == [((), {"exit_code": 1})]
    assert "wandb sync" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "x")
    Loggers(["wandb"], about)
    assert wandb.named("init")[1][1]["mode"] == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Loggers(["wandb"], about)
    assert wandb.named("init")[2][1]["mode"] == "disabled"


def test_a_resumed_run_is_the_same_run_and_a_new_one_is_not(wandb, about):
    for one in (about, about._replace(step=5), about._replace(started="later"), about._replace(path=about.path / "x")):
        Loggers(["wandb"], one)
    first, resumed, again, elsewhere = (given["id"] for _, given in wandb.named("init"))
    assert first == resumed and len({first, again, elsewhere}) == 3


def test_mlflow(mlflow, about):
    log = Loggers(["mlflow"], about)
    log.add(2, {"loss": 0.5})
    log.close("finished")
    (client,) = mlflow
    assert client.named("create_experiment") == [(("gssl",), {})]
    assert client.named("create_run")[0][0] == ("8", "sweep/3")
    params, metrics = client.named("log_batch")
    assert params[1]["params"] == [("ssl.lr", "0.1"), ("seed", "3")]
    (metric,) = metrics[1]["metrics"]
    assert (metric[0], metric[1], metric[3]) == ("loss", 0.5, 2) and metrics[0] == ("run 0",)
    assert client.named("set_terminated") == [(("run 0", "FINISHED"), {})]


def test_mlflow_goes_on_with_a_run(mlflow, about, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "known")
    Loggers(["mlflow"], about).close("interrupted")
    again = Loggers(["mlflow"], about._replace(step=3))
    again.add(4, {"loss": 1.0})
    first, second = mlflow
    assert first.named("set_terminated") == [(("run 0", "KILLED"), {})]
    assert second.named("create_run") == [] and second.named("update_run") == [(("run 0",), {"status": "RUNNING"})]
    assert first.named("create_run")[0][0][0] == "7"


def test_mlflow_takes_a_hundred_parameters_at_once(mlflow, about):
    Loggers(["mlflow"], about._replace(config={f"k{i}": "x" * 900 for i in range(230)}))
    batches = [kwargs["params"] for _, kwargs in mlflow[0].named("log_batch")]
    assert [len(batch) for batch in batches] == [100, 100, 30] and len(batches[0][0][1]) == 500


def test_trackio(trackio, about):
    log = Loggers(["trackio"], about)
    log.add(1, {"loss": 2.0})
    log.close("finished")
    ((_, given),) = trackio.named("init")
    assert given["project"] == "gssl" and given["name"].startswith("sweep/3") and given["config"] == about.config
    assert trackio.named("log") == [(({"loss": 2.0},), {"step": 1})] and trackio.named("finish") == [((), {})]


def test_tensorboard_gets_the_numbers(about):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Loggers(["tensorboard"], about)
    for step in (1, 2):
        log.add(step, {"loss": step / 2})
    log.close("finished")
    events = EventAccumulator(str(about.path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 1.0)]


def test_a_missing_package_is_one_line_with_the_extra(monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None if name == "trackio" else name)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    with pytest.raises(UsageError, match=r"trackio is not installed; pip install 'gssl\[trackio\]'"):
        loggers.check(["tensorboard", "trackio"])
    loggers.check(["tensorboard", "wandb"])


def test_a_run_with_a_missing_logger_makes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    cfg = tiny("pretrain-ssl")
    cfg = section.replace(cfg, engine=section.replace(cfg.engine, loggers=["wandb"]))
    with pytest.raises(UsageError, match="wandb is not installed"):
        pretrain_ssl.main(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("when", ["init", "log", "finish"])
def test_a_logger_that_fails_ends_alone(wandb, trackio, about, capsys, when):
    def fail(*args, **kwargs):
        raise ConnectionError("no network\nat all")

    setattr(wandb, when, fail)
    log = Loggers(["wandb", "trackio"], about)
    for step in (1, 2):
        log.add(step, {"loss": 1.0})
    log.close("finished")
    said = capsys.readouterr().err
    assert said.count("engine.loggers: wandb ends here (ConnectionError: no network at all)") == 1
    assert len(trackio.named("log")) == 2 and len(trackio.named("finish")) == 1


@pytest.mark.long
def test_a_training_tells_its_loggers_what_it_writes(tiny, tmp_path, wandb, monkeypatch):
    from gssl.engine.loop import Trainer

    cfg = tiny("pretrain-ssl", "engine.log_every=2", "eval.every=3")
    cfg = section.replace(cfg, engine=section.replace(cfg.engine, loggers=["wandb"]))
    pretrain_ssl.main(cfg, tmp_path / "a")
    logged = {key: args[0][key] for args, _ in wandb.named("log") for key in args[0]}
    assert {"loss", "val_knn", "lr"} <= set(logged)
    assert wandb.named("finish") == [((), {"exit_code": 0})]

    def fit(self, method, *args, **kwargs):
        raise ValueError("odd")

    monkeypatch.setattr(Trainer, "fit", fit)
    with pytest.raises(ValueError):
        pretrain_ssl.main(cfg, tmp_path / "b")
    assert len(wandb.named("init")) == 1  # it had not begun
