"""The battery for a machine with CUDA: `make test-gpu`, or `python tests/gpu/battery.py`.

It needs torch, the packages that gssl needs and no network. Each check is a function of the device and an empty folder
that raises AssertionError; `checks()` lists them for pytest (tests/gpu/test_gpu.py) and for the command. No GPU has run
it yet: tolerances are guesses. The checks themselves run on a CPU with GSSL_TEST_GPU_ON=cpu.
"""

import contextlib
import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "engine")]

import torch  # noqa: E402

ON = "GSSL_TEST_GPU_ON"
NONE = f"no CUDA device here: the GPU battery is skipped ({ON}=cpu runs its checks on the CPU)"


def chosen() -> torch.device | None:
    """The device to be tested; None where there is no GPU."""
    if os.environ.get(ON):
        return torch.device(os.environ[ON])
    return torch.device("cuda", 0) if torch.cuda.is_available() else None


if __name__ == "__main__" and chosen() is None:  # before seconds of imports
    print(NONE)
    sys.exit()

import numpy as np  # noqa: E402
import ranks  # noqa: E402

from gssl.commands import pretrain_ssl, train_gan  # noqa: E402
from gssl.config import registry  # noqa: E402
from gssl.config.composing import compose  # noqa: E402
from gssl.data import Draws, Images, cache  # noqa: E402
from gssl.data.batches import Batches, _on_device  # noqa: E402
from gssl.engine import compile  # noqa: E402
from gssl.engine.device import Precision, found_precision, release_memory  # noqa: E402
from gssl.engine.loop import Trainer  # noqa: E402
from gssl.engine.optim import Optimizer  # noqa: E402
from gssl.engine.worker import OK, Job, answered  # noqa: E402
from gssl.method import Context  # noqa: E402
from gssl.nets.backbone import build_backbone  # noqa: E402
from gssl.nets.ema import EMA  # noqa: E402

CPU = torch.device("cpu")
RECIPES = [(kind, f.stem) for kind in ("ssl", "gan") for f in sorted((ROOT / "conf" / kind).glob("*.yaml"))]
SCALE = 128.0  # of losses in fp16
# precision → largest difference of a first loss from the CPU's in float32, of max(1, |loss|); least cosine of gradients
TOLERANCES = {"fp32": (1e-3, 0.999), "bf16": (0.1, 0.9), "fp16": (0.05, 0.95)}
Check = Callable[[torch.device, Path], None]


class Skipped(Exception):
    """The machine lacks what a check needs."""


# ── one step of every recipe ─────────────────────────────────────────────────────────────────────


def precision_of(name: str, device: torch.device) -> Precision:
    """The precision, also where a CPU would refuse it for its speed."""
    made = object.__new__(Precision)
    object.__setattr__(made, "name", name)
    object.__setattr__(made, "device", device)
    return made


def method_of(family: str, name: str, device: torch.device, precision: Precision) -> tuple[Any, list[Optimizer]]:
    """A narrow network of the recipe with the same first weights everywhere, and its optimisers."""
    cfg = ranks._configured(family, name, [])
    torch.manual_seed(0)
    backbone = build_backbone(cfg.backbone, ranks.SIZE)
    optimizers: list[Optimizer] = []

    def optimizer(params: Any, optim: Any, steady: Any = (), **more: Any) -> Optimizer:
        made = Optimizer(params, optim, device=device, precision=precision, steady=steady, **more)
        made.progress = 0.5
        if precision.name == "fp16":  # torch's first scale passes what fp16 holds, which takes some steps to find
            made.scaler = torch.amp.GradScaler(device.type, init_scale=SCALE)
        optimizers.append(made)
        return made

    teacher = ranks.Taught().eval().to(device)
    context = Context(Draws(0), device, ranks.SIZE, 3, ranks.CLASSES, optimizer, teacher=teacher)
    method = registry.load(registry.FAMILIES[family][name].where)(getattr(cfg, family), backbone, context)
    method.to(memory_format=torch.channels_last).train()
    return method, optimizers


def sent(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {key: value.to(device) for key, value in batch.items()}


@contextlib.contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Inside, torch raises an error where the host would wait for the GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def gradients(optimizers: list[Optimizer]) -> torch.Tensor:
    """Those of the last step, of the optimiser that stepped last."""
    found = [p.grad.detach().flatten().double().cpu() for p in optimizers[-1].params if p.grad is not None]
    return torch.cat(found)


def step(family: str, name: str, precision: str, device: torch.device, folder: Path) -> None:
    """One update is the CPU's in float32, within the tolerance, and a second one waits for nothing."""
    off, least = TOLERANCES[precision]
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        reference, theirs = method_of(family, name, CPU, Precision("fp32", CPU))
        wanted = reference.update(ranks.batch_of(reference.needs, 0), 0)
        method, mine = method_of(family, name, device, precision_of(precision, device))
        found = method.update(sent(ranks.batch_of(method.needs, 0), device), 0)
        for key, value in found.items():
            assert torch.isfinite(value).all(), f"{key} is {value}"
        a, b = float(found["loss"]), float(wanted["loss"])
        assert abs(a - b) <= off * max(1.0, abs(b)), f"loss {a:.6g}, the CPU's {b:.6g}"
        cosine = float(torch.nn.functional.cosine_similarity(gradients(mine), gradients(theirs), dim=0))
        assert cosine >= least, f"gradients have a cosine of {cosine:.5f} with the CPU's"
        second = sent(ranks.batch_of(method.needs, 1), device)
        with no_waits(device):
            method.update(second, 1)
        assert all(torch.isfinite(p).all() for p in method.parameters())
    finally:
        torch.set_float32_matmul_precision(kept[0])
        torch.backends.cudnn.allow_tf32 = kept[1]


# ── whole runs ───────────────────────────────────────────────────────────────────────────────────


def configured(command: str, device: torch.device, *overrides: str) -> Any:
    """A training of seconds on the embedded digits."""
    base = ["data=mnist5k", "data.limit=200", "data.size=16", "backbone.width=8", "budget.steps=6"]
    base += [f"engine.device={device.type}", "engine.progress=false", "engine.log_every=1", "engine.threads=1"]
    if command == "pretrain-ssl":
        base += ["ssl.batch_size=16"]
    else:
        base += ["gan.batch_size=16", "gan.latent=8", "gan.width=4", "evaluator=random"]
    return compose(command, [*base, "eval.images=50", *overrides])


def logged(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "lr" in line]


def near(a: list[float], b: list[float], off: float) -> None:
    assert len(a) == len(b) and all(map(math.isfinite, a)), (a, b)
    assert all(abs(x - y) <= off * max(1.0, abs(y)) for x, y in zip(a, b, strict=True)), (a, b)


def resume(command: str, device: torch.device, folder: Path) -> None:
    """A run that was killed goes on as one that was not."""
    main = {"pretrain-ssl": pretrain_ssl.main, "train-gan": train_gan.main}[command]
    cfg = configured(command, device, "engine.resume=auto", "engine.checkpoint_every=2", "engine.precision=fp32")
    main(cfg, folder / "whole")
    fit = Trainer.fit

    def dying(self: Trainer, method: Any, *args: Any, **kwargs: Any) -> Any:
        update = method.update

        def killed(batch: Any, now: int) -> Any:
            if now == 5:
                raise MemoryError("killed")
            return update(batch, now)

        method.update = killed
        return fit(self, method, *args, **kwargs)

    with mock.patch.object(Trainer, "fit", dying), contextlib.suppress(MemoryError):
        main(cfg, folder / "killed")
    assert not (folder / "killed" / "result.json").exists()
    main(cfg, folder / "killed")
    near(logged(folder / "killed"), logged(folder / "whole"), 0 if device.type == "cpu" else 1e-2)


def precision_is_recorded(device: torch.device, folder: Path) -> None:
    """`auto` is on record as what it was."""
    pretrain_ssl.main(configured("pretrain-ssl", device), folder)
    found = json.loads((folder / "environment.json").read_text())
    assert found["precision"] == found_precision("auto", device)
    assert (found.get("cudnn_benchmark") is True and found["tf32"] is True) or device.type != "cuda"


def compiled(device: torch.device, folder: Path) -> None:
    """A compiled training logs what the other one logs, and counts none of its compiling."""
    with contextlib.ExitStack() as stack:
        if device.type == "cpu":  # no code generator: minutes
            stack.enter_context(mock.patch.object(compile, "BACKEND", "eager"))
        for choice in ("off", "on"):
            cfg = configured("pretrain-ssl", device, "engine.precision=fp32", f"engine.compile={choice}")
            pretrain_ssl.main(cfg, folder / choice)
    near(logged(folder / "on"), logged(folder / "off"), 1e-3)
    assert json.loads((folder / "on" / "result.json").read_text())["spent"]["compile_seconds"] > 0


def two_processes(device: torch.device, folder: Path) -> None:
    """Two processes, by NCCL on two GPUs, log what one logs."""
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        raise Skipped("one GPU here, NCCL needs two")
    words = [
        "pretrain-ssl", "data=mnist5k", "data.limit=200", "data.size=16", "backbone.width=8", "ssl.batch_size=16",
        "budget.steps=4", f"engine.device={device.type}", "engine.precision=fp32", "engine.tf32=false",
        "engine.log_every=1", "engine.progress=false", "eval.images=50",
    ]  # fmt: skip
    for count in (1, 2):
        command = [
            sys.executable,
            "-m",
            "gssl",
            *words,
            f"engine.processes={count}",
            f"hydra.run.dir={folder / str(count)}",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    near(logged(folder / "2"), logged(folder / "1"), 1e-3)


# ── data and memory ──────────────────────────────────────────────────────────────────────────────


def images(ragged: bool) -> Images:
    rng = np.random.default_rng(0)
    sizes = [(24 + 4 * (i % 3) if ragged else 24, 32) for i in range(40)]
    pixels = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]

    def build(writer: cache.Writer) -> None:
        writer.add(pixels, [cache.image_hash(image) for image in pixels])
        writer.finish({}, {})

    store = cache.entry(cache.entry_key("gpu", str(ragged)), lambda: 1, build)
    return Images(store, np.arange(40), np.arange(40) % 2, ["even", "odd"])


def data(resident: bool, ragged: bool, device: torch.device, folder: Path) -> None:
    """Batches that stay on the device, or are sent ahead, are those that the CPU has."""
    own = images(ragged)
    wanted, found = (Batches(own, 24, Draws(3), where) for where in (CPU, device))
    found._resident = _on_device(own, device) if resident else None
    found._ahead = None if resident else found._prepared()
    for now in (0, 1, 2, 3, 4, 11, 12, 5):
        a, b = wanted(now), found(now)
        assert a.keys() == b.keys() and all(value.device.type == device.type for value in b.values())
        for key in a:
            expected = a[key].padded() if hasattr(a[key], "padded") else a[key]
            got = b[key].padded() if hasattr(b[key], "padded") else b[key]
            assert torch.equal(got.cpu(), expected), key


def alive(device: torch.device) -> int:
    """Bytes of tensors on the device that Python still holds, or that torch has given out there."""
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    found = {}
    for x in gc.get_objects():
        if issubclass(type(x), torch.Tensor) and x.layout == torch.strided and x.device.type == device.type:
            found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
    return sum(found.values())


def memory(device: torch.device, folder: Path) -> None:
    """Parts that one worker runs one after another leave nothing on the device."""
    left = []
    for part in range(3):
        cfg = configured("pretrain-ssl", device, "backbone.width=64", f"seed={part}")
        job = Job("gssl.commands.pretrain_ssl:main", cfg, folder / str(part))
        state, why = answered(job)
        assert state == OK, why
        del job, cfg
        release_memory()
        left.append(alive(device))
    assert left[2] <= left[0] + (1 << 20), f"bytes after each part: {left}"


def averages(device: torch.device, folder: Path) -> None:
    """An average's weights and buffers, by kernels for all of them."""
    made = []
    for where in (CPU, device):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 2))
        average = EMA(network, 0.9).to(where)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(1)
        network[1].running_mean.add_(2)  # type: ignore[union-attr, operator]
        for _ in range(4):
            average.update(network.to(where))
        made.append([x.cpu() for x in average.state_dict().values()])
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b)


def lars(device: torch.device, folder: Path) -> None:
    """Steps of LARS."""
    made = []
    for where in (CPU, device):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2)).to(where)
        cfg = compose("pretrain-ssl", ["ssl.optim.name=lars", "ssl.optim.lr=10", "ssl.optim.clip=1"]).ssl.optim
        optimizer = Optimizer(network.parameters(), cfg, device=where, precision=Precision("fp32", where))
        optimizer.progress = 0.5
        x = torch.linspace(-1, 1, 40).view(8, 5).to(where)
        with no_waits(where):
            for _ in range(4):
                optimizer.minimize(lambda batch: {"loss": network(batch["x"]).square().mean()}, {"x": x})  # noqa: B023
        made.append([p.detach().cpu() for p in network.parameters()])
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def checks() -> dict[str, Check]:
    """Every check by its name."""
    found: dict[str, Check] = {
        f"step {name} {precision}": partial(step, family, name, precision)
        for family, name in RECIPES
        for precision in TOLERANCES
    }
    found |= {f"resume {command}": partial(resume, command) for command in ("pretrain-ssl", "train-gan")}
    found |= {
        "data resident": partial(data, True, False),
        "data streamed": partial(data, False, False),
        "data streamed, sizes differ": partial(data, False, True),
        "memory between parts": memory,
        "averages": averages,
        "lars": lars,
        "precision auto": precision_is_recorded,
        "compile": compiled,
        "two processes": two_processes,
    }
    return found


def refused(name: str, device: torch.device) -> str | None:
    """Why the device cannot do a check."""
    if "bf16" in name and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "no bf16 on this GPU"
    return None


def main(words: list[str]) -> int:
    """Runs the checks whose names have one of `words` in them, all where there is none; prints a line for each."""
    device = chosen()
    if device is None:
        print(NONE)
        return 0
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{what}, torch {torch.__version__}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GSSL_CACHE"] = f"{folder}/cache"
        for number, (name, check) in enumerate(checks().items()):
            if words and not any(word in name for word in words):
                continue
            since, where = time.perf_counter(), Path(folder) / str(number)
            where.mkdir()
            try:
                if reason := refused(name, device):
                    raise Skipped(reason)
                check(device, where)
                state = "ok"
            except Skipped as error:
                state = f"skipped: {error}"
            except Exception as error:
                traceback.print_exc()
                state = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                failed.append(name)
            print(f"{name:40} {time.perf_counter() - since:6.1f} s  {state}", flush=True)
    print(f"{len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
