"""Building one method outside the engine, as the engine would."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gssl.config import registry
from gssl.config.composing import compose
from gssl.data import Draws
from gssl.engine.device import Precision
from gssl.engine.optim import Optimizer
from gssl.method import Batch, Context
from gssl.nets.backbone import build_backbone
from gssl.vocabulary import ASSISTANT, EOS, FIRST, PAD, SEP, USER

CPU = torch.device("cpu")


class Taught(torch.nn.Module):
    """A teacher: 12 features of an image averaged to 2×2 positions."""

    dim = 12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


@pytest.fixture
def build() -> Callable[..., Any]:
    """`build("byol", "ssl.momentum=0.9", size=16)` → the method in training mode, on its own suitable backbone.

    A convnet is narrowed to width 8, a ViT to width 24. The learning rate is constant.
    """

    def make(name: str, *overrides: str, size: int = 16, channels: int = 3, classes: int = 4, seed: int = 0) -> Any:
        base = [f"ssl={name}", "ssl.optim.warmup=0", "ssl.optim.schedule=constant"]
        own = {"video": ["data=video"], "text": ["data=text", "data.tokenizer=byte"]}
        own["caption"] = ["data=imagetext"]
        base += own.get(registry.SSL[name].column, [])
        own = compose("pretrain-ssl", base).backbone.name
        narrow = [f"backbone.width={24 if own.startswith('vit') else 8}"]
        cfg = compose("pretrain-ssl", [*base, *narrow, f"data.size={size}", *overrides])
        torch.manual_seed(seed)
        backbone = build_backbone(cfg.backbone, size)

        def optimizer(params: Any, optim: Any, steady: Any = ()) -> Optimizer:
            return Optimizer(params, optim, device=CPU, precision=Precision("fp32", CPU), steady=steady)

        teacher = Taught().eval().requires_grad_(False) if hasattr(cfg.ssl, "teacher") else None
        context = Context(
            Draws(seed), CPU, size, channels, classes, optimizer, vocab=FIRST + 256, caption_tokens=5, teacher=teacher
        )
        method = registry.load(registry.SSL[name].where)(cfg.ssl, backbone, context)
        method.to(memory_format=torch.channels_last)
        return method.train()

    return make


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> Any:
    """A folder with train/ and test/ of tiny films in two classes."""
    from tests.data.films import set_of_films

    return set_of_films(tmp_path_factory.mktemp("films"), 12)


@pytest.fixture(scope="session")
def sentences(tmp_path_factory) -> Any:
    """A table of 60 short texts in two classes."""
    words = ["red", "green", "blue", "one", "two", "three"]
    rows = [f"{words[i % 3]} {words[3 + i % 2]} {i},{'odd' if i % 2 else 'even'}" for i in range(60)]
    file = tmp_path_factory.mktemp("sentences") / "texts.csv"
    file.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def captioned(tmp_path_factory) -> Any:
    """A folder of 60 images with two captions each."""
    from tests.data.captioned import set_of_captioned

    return set_of_captioned(tmp_path_factory.mktemp("captioned"))


@pytest.fixture(scope="session")
def spoken(tmp_path_factory) -> Any:
    """A .jsonl of 60 short dialogues."""
    words = ["red", "green", "blue", "one", "two", "three"]
    file = tmp_path_factory.mktemp("spoken") / "dialogues.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for i in range(60):
            turns = [("user", f"{words[i % 3]}?"), ("assistant", words[3 + i % 2])]
            turns += [("user", str(i)), ("assistant", "ok")] if i % 2 else []
            out.write(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    return file


@pytest.fixture(scope="session")
def paired(tmp_path_factory) -> Any:
    """A table of 60 short pairs of texts."""
    words = ["red", "green", "blue", "one", "two", "three"]
    rows = [f"{words[i % 3]} {i},{i} {words[3 + i % 3]}" for i in range(60)]
    file = tmp_path_factory.mktemp("paired") / "pairs.csv"
    file.write_text("text,text_b\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """`batch(method, 8)` → smooth random images and labels under the names that `method` needs."""

    def make(method: Any, count: int = 8, size: int = 16, classes: int = 4, seed: int = 0) -> Batch:
        g = torch.Generator().manual_seed(seed)
        found: Batch = {}
        base = torch.rand(count, 3, 4, 4, generator=g)
        smooth = torch.nn.functional.interpolate(base, size=(size, size), mode="bilinear")
        for name in method.needs:
            if name == "label":
                found[name] = torch.arange(count) % classes
            elif name in ("tokens", "dialogue", "pair"):  # bytes, and nothing behind some rows' ends
                found[name] = torch.randint(FIRST, FIRST + 256, (count, size), generator=g)
                found[name][::2, size // 2 :] = PAD
                if name == "dialogue":
                    found[name][:, [0, 3, 4]] = torch.tensor([USER, EOS, ASSISTANT])
                elif name == "pair":
                    found[name][torch.arange(count), 2 + torch.arange(count) % 4] = SEP
                    found[name][::2, size // 2 - 1] = EOS
            elif name in ("caption", "captions"):  # of 5 tokens, some of 3; captions are two, of some images one
                found["caption"] = torch.randint(FIRST, FIRST + 256, (count, 5), generator=g)
                found["caption"][::2, 3:] = PAD
                found["captions"] = torch.stack([found["caption"], found["caption"].flip(0)], 1)
                found["captions"][::3, 1] = PAD
            else:
                noise = 0.05 * torch.randn(count, 3, size, size, generator=g)
                found[name] = (smooth + noise).clamp(0, 1).contiguous(memory_format=torch.channels_last)
        return found

    return make
