"""Texts that a causal language model writes, token by token; of one for chat the assistant's answers, of one of pairs
targets."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import Draws, dialogues
from gssl.data.tokens import Tokenizer
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment.language import method_of, network_of
from gssl.nets.text import TextTransformer
from gssl.vocabulary import ASSISTANT, EOS, FIRST, PAD, SEP

BATCH = 64
ASKED = {  # method → what the prompt is where texts are answers to it
    "chat": "what the user says, which the assistant of this run answers",
    "seq2seq": "a source, whose target this run writes",
}


def chosen(logits: Tensor, temperature: float, chance: Tensor, end: int | None = None) -> Tensor:
    """Ids (B,) from scores (B, vocab) of the next token: that at which the probabilities add up to `chance` (B,).

    What stands for no text is never chosen, but for `end`. At temperature 0 it is the likeliest.
    """
    scores = logits.double()
    scores[:, [i for i in range(FIRST) if i != end]] = -torch.inf
    if temperature == 0:
        return scores.argmax(1)
    total = (scores / temperature).softmax(1).cumsum(1)
    found = torch.searchsorted(total, chance.double()[:, None] * total[:, -1:], right=True)[:, 0]
    return found.clamp(max=logits.shape[1] - 1)


@torch.no_grad()
def generate(
    network: TextTransformer, start: Tensor, size: int, tokens: int, temperature: float, seed: int,
    end: int | None = None,
) -> Tensor:  # fmt: skip
    """`start` (B, T) and `tokens` ids behind it, each by the at most `size` - 1 before it. A row depends on its place
    and the seed alone. Behind the mark `end` a row has nothing more, and all end where each has it."""
    ids, draws = start, Draws(seed)
    done = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for step in range(tokens):
        read = ids[:, -max(1, size - 1) :]
        x = network.encode(read)[:, -1]
        chance = draws.uniform("sample/text", step, (len(ids),)).to(ids.device)
        new = chosen(network.logits(x), temperature, chance, end).masked_fill(done, PAD)
        ids = torch.cat([ids, new[:, None]], dim=1)
        done |= new == end if end is not None else done
        if bool(done.all()):
            break
    return ids


def write(
    run: Path, n: int, out: Path, seed: int, device: torch.device, prompt: str, tokens: int, temperature: float,
    force: bool,
) -> dict[str, Any]:  # fmt: skip
    """`n` texts of a run's network in the file `out` (.txt), each behind a line that numbers it. Raises UsageError.

    Of a run of ssl=chat the prompt is what a user says, and the texts are the assistant's answers; of ssl=seq2seq it is
    the source, and they are targets.
    """
    outputs.check(out, ".txt", force)
    if temperature < 0:
        raise UsageError(f"--temperature {temperature}: expected 0 (the likeliest token) or more")
    network, size = network_of(run)
    tokenizer = Tokenizer((run / "weights" / "tokenizer.json").read_text(encoding="utf-8"))
    given, end, method = tokenizer.encode([prompt])[0], None, method_of(run)
    if alone := method in ASKED:
        if not prompt.strip():
            raise UsageError(f"--prompt: expected {ASKED[method]}")
        marked = np.append(given, SEP) if method == "seq2seq" else np.append(dialogues.marked("user", given), ASSISTANT)
        given, end = marked, EOS
        if len(given) >= size:
            raise UsageError(f"--prompt: is {len(given)} tokens, and the network reads {size}; ask in fewer words")
    if method == "seq2seq":
        tokens = min(tokens, size - len(given))  # the source is read with every token
    start = torch.from_numpy(np.tile(given, (n, 1))).to(device)
    network.to(device).eval()
    made = generate(network, start, size, tokens, temperature, seed, end).cpu().tolist()
    texts = [tokenizer.decode(ids[len(given) if alone else 0 :]) for ids in made]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(f"── {number} ──\n{text}\n" for number, text in enumerate(texts, 1)))
    outputs.describe(out, {"schema": "gssl.sample/1", "run": str(run), "seed": seed, "temperature": temperature})
    return {"file": str(out), "texts": n, "tokens": tokens, "seed": seed, "temperature": temperature}
