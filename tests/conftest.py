"""Shared fixtures: a cache of our own and a small folder of pictures that can be learnt from."""

import gc
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.config.composing import compose
from gssl.data import Images, cache

# a shell starts what runs in the background with Ctrl-C ignored, and what is ignored stays so
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def what_is_imported_stays():
    """Half the time of composing a configuration is Python's collector, which walks through all of torch."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GSSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def draw_pictures(root: Path, per_class: dict[str, int], side: int = 16, seed: int = 0) -> None:
    """Class folders of noisy pictures: one bright quarter each, its place is the class."""
    rng = np.random.default_rng(seed)
    corners = {"a": (0, 0), "b": (0, 1), "c": (1, 0), "d": (1, 1)}
    for name, count in per_class.items():
        folder = root / name
        folder.mkdir(parents=True)
        y, x = (c * side // 2 for c in corners[name])
        for i in range(count):
            pixels = rng.integers(0, 90, (side, side, 3))
            pixels[y : y + side // 2, x : x + side // 2] += rng.integers(60, 160, 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with train/ (3 × 40) and test/ (3 × 20)."""
    root = tmp_path_factory.mktemp("pictures")
    draw_pictures(root / "train", {"a": 40, "b": 40, "c": 40})
    draw_pictures(root / "test", {"a": 20, "b": 20, "c": 20}, seed=1)
    return root


@pytest.fixture
def tiny(pictures):
    """Overrides that make any training command small: `tiny("pretrain-ssl", "budget.steps=3")` → typed config."""
    from gssl.config.composing import compose

    def make(command: str, *overrides: str):
        base = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "engine.threads=1"]
        base += ["engine.progress=false", "engine.device=cpu"]
        if command == "pretrain-ssl":
            base += ["ssl.batch_size=16", "budget.steps=6"]
        elif command == "train-gan":
            base += ["gan.batch_size=16", "gan.latent=8", "gan.width=4", "evaluator=random", "budget.steps=6"]
        elif command in ("transfer", "curve"):
            base += ["labels_per_class=[1,5]", "draws=2", "draws_one_shot=2", "probe.linear.l2_count=3"]
            base += ["probe.finetune.steps=4", "probe.finetune.batch_size=8", "probe.finetune.lrs=[0.001]"]
            base += ["probe.fixmatch.steps=3", "probe.fixmatch.batch_size=4", "probe.fixmatch.lrs=[0.001]"]
            base += ["probe.fewshot.shots=[1,2]", "probe.fewshot.draws=3", "probe.cluster.n_init=2"]
            base += ["diagnose.pictures=false"]
        return compose(command, [*base, *overrides])

    return make


@pytest.fixture
def stored() -> Callable[[np.ndarray, np.ndarray], Images]:
    """Images from pixels (N, H, W, C) uint8 and labels (N,)."""

    def make(pixels: np.ndarray, labels: np.ndarray) -> Images:
        def build(writer: cache.Writer) -> None:
            writer.add(list(pixels), [cache.image_hash(image) for image in pixels])
            writer.finish({}, {})

        key = cache.entry_key("test", pixels.tobytes(), pixels.shape)
        store = cache.entry(key, lambda: pixels.nbytes, build)
        return Images(store, np.arange(len(pixels)), labels, [str(c) for c in np.unique(labels)])

    return make


@pytest.fixture
def quarters(stored) -> Callable[[int, int], Images]:
    """Noise with one bright quarter, whose place is the class: (count per class, seed) → 4 classes of 8×8."""

    def make(per_class: int, seed: int = 0) -> Images:
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(4), per_class)
        pixels = rng.integers(0, 80, (len(labels), 8, 8, 3))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * (label // 2) :][:4, 4 * (label % 2) :][:, :4] += 120
        return stored(pixels.astype(np.uint8), labels)

    return make


@pytest.fixture
def killed(monkeypatch) -> Callable[..., None]:
    """`killed(main, cfg, folder, step=3)`: run a training command that dies before the update of `step`."""
    from gssl.engine.loop import Trainer

    class Killed(BaseException):
        """Ends a run without any of its own clean-up in the loop."""

    def run(main: Callable[..., object], cfg: object, folder: Path, step: int) -> None:
        original = Trainer.fit

        def fit(self, method, *args, **kwargs):
            update = method.update

            def dying(batch, now):
                if now == step:
                    raise Killed
                return update(batch, now)

            method.update = dying
            return original(self, method, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "fit", fit)
            with pytest.raises(Killed):
                main(cfg, folder)

    return run


class Inline:
    """A comparison's worker without a process of its own, whose start takes seconds; a failure is an answer too."""

    def __init__(self, threads: int) -> None:
        self.answer: tuple[str, str] | None = None

    def start(self, job) -> None:
        import traceback

        from gssl.config.registry import load
        from gssl.engine.worker import FAILED, OK

        job.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            load(job.where)(job.cfg, job.run_dir)
            self.answer = (OK, "")
        except Exception as error:
            (job.run_dir / "log.txt").write_text(traceback.format_exc())
            self.answer = (FAILED, f"{type(error).__name__}: {error}")

    def poll(self, timeout: float) -> tuple[str, str] | None:
        return self.answer

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="session")
def inline_worker() -> type:
    """Parts of a comparison run in this process. That workers work is held by the tests of workers and of `compare`."""
    return Inline


@pytest.fixture
def inline(monkeypatch, inline_worker):
    monkeypatch.setattr("gssl.comparison.execution.Worker", inline_worker)


@pytest.fixture
def small(pictures, tmp_path, monkeypatch):
    """A comparison of seconds, for every test of `compare`."""
    monkeypatch.setattr("gssl.metrics.tsne.ROUNDS", 250)  # t-SNE's fewest: a map per network takes a second

    def make(*overrides: str):
        words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8"]
        words += ["engine.progress=false", "engine.device=cpu", "engine.threads=1", f"parts={tmp_path / 'parts'}"]
        words += [
            "seeds=1",
            "generation.evaluator=random",
            "eval.milestones=1",
            "budget.steps=3",
            "labels_per_class=[5]",
            "fractions=[]",
            "draws=2",
            "eval.images=50",
            "model=false",
        ]
        words += ["probe.linear.l2_count=2", "probe.finetune.steps=3", "probe.finetune.lrs=[0.001]"]
        words += overrides
        # batches that fit the few pictures, for the arms that are there
        arms = next((w for w in overrides if w.startswith("arms=")), "arms=[simclr,supervised,dcgan]")
        batch = {"simclr": "ssl", "supervised": "ssl", "dcgan": "gan"}
        given = " ".join(overrides)
        for arm in [a for a in batch if a in arms and f"overrides.{a}" not in given and "runs=" not in given]:
            more = ",'evaluator=random'" if batch[arm] == "gan" else ""
            words.append(f"+overrides.{arm}=['{batch[arm]}.batch_size=16'{more}]")
        return compose("compare", words)

    return make
