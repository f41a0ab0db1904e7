"""Texts that a causal language model writes, token by token."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import Draws
from gssl.data.tokens import Tokenizer
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment.language import network_of
from gssl.nets.text import TextTransformer
from gssl.vocabulary import FIRST

BATCH = 64


def chosen(logits: Tensor, temperature: float, chance: Tensor) -> Tensor:
    """Ids (B,) from scores (B, vocab) of the next token: that at which the probabilities add up to `chance` (B,).

    What stands for no text is never chosen. At temperature 0 it is the likeliest.
    """
    scores = logits.double()
    scores[:, :FIRST] = -torch.inf
    if temperature == 0:
        return scores.argmax(1)
    total = (scores / temperature).softmax(1).cumsum(1)
    found = torch.searchsorted(total, chance.double()[:, None] * total[:, -1:], right=True)[:, 0]
    return found.clamp(max=logits.shape[1] - 1)


@torch.no_grad()
def generate(network: TextTransformer, start: Tensor, size: int, tokens: int, temperature: float, seed: int) -> Tensor:
    """`start` (B, T) and `tokens` ids behind it, each by the at most `size` - 1 before it. A row depends on its place
    and the seed alone."""
    ids, draws = start, Draws(seed)
    for step in range(tokens):
        read = ids[:, -max(1, size - 1) :]
        x = network.encode(read)[:, -1]
        chance = draws.uniform("sample/text", step, (len(ids),)).to(ids.device)
        ids = torch.cat([ids, chosen(network.logits(x), temperature, chance)[:, None]], dim=1)
    return ids


def write(
    run: Path, n: int, out: Path, seed: int, device: torch.device, prompt: str, tokens: int, temperature: float,
    force: bool,
) -> dict[str, Any]:  # fmt: skip
    """`n` texts of a run's network in the file `out` (.txt), each behind a line that numbers it. Raises UsageError."""
    outputs.check(out, ".txt", force)
    if temperature < 0:
        raise UsageError(f"--temperature {temperature}: expected 0 (the likeliest token) or more")
    network, size = network_of(run)
    tokenizer = Tokenizer((run / "weights" / "tokenizer.json").read_text(encoding="utf-8"))
    given = tokenizer.encode([prompt])[0]
    start = torch.from_numpy(np.tile(given, (n, 1))).to(device)
    network.to(device).eval()
    made = generate(network, start, size, tokens, temperature, seed).cpu().tolist()
    texts = [tokenizer.decode(ids) for ids in made]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(f"── {number} ──\n{text}\n" for number, text in enumerate(texts, 1)))
    outputs.describe(out, {"schema": "gssl.sample/1", "run": str(run), "seed": seed, "temperature": temperature})
    return {"file": str(out), "texts": n, "tokens": tokens, "seed": seed, "temperature": temperature}
