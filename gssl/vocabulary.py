"""How many ids of tokens there are, before any text is read. No torch here.

Ids below `FIRST` are this project's own and stand for no text, so that nothing a user writes can be taken for one of
them; a token of a tokenizer has its id there plus `FIRST`.
"""

import json
from pathlib import Path
from typing import Any

from gssl.errors import UsageError

PAD, BOS, EOS, MASK, SEP, USER, ASSISTANT, SYSTEM = range(8)
FIRST = 8
BYTES = 256
KINDS = {"byte": BYTES, "char": 256, "bpe": 2000}  # data.tokenizer → its tokens where data.vocab does not say


def rows_of(tokenizer: str, vocab: int | None) -> int:
    """Rows of an embedding for `data.tokenizer` and `data.vocab`. Raises UsageError."""
    if tokenizer in KINDS:
        return FIRST + (vocab or KINDS[tokenizer])
    if vocab is not None:
        raise UsageError(f"data.vocab={vocab}: data.tokenizer={tokenizer} has a vocabulary of its own; leave it out")
    try:
        found: Any = json.loads(file_of(tokenizer))
        vocabulary = found["model"]["vocab"]
        ids = [int(token["id"]) for token in found.get("added_tokens") or []]
        ids += vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        return FIRST + 1 + max(ids)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"data.tokenizer={tokenizer}: is no tokenizer.json; give another file") from error


def file_of(tokenizer: str) -> str:
    """The text of data.tokenizer=FILE. Raises UsageError."""
    path = Path(tokenizer).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"data.tokenizer={tokenizer}: expected {', '.join(KINDS)}, or a tokenizer.json that is there")
    return path.read_text(encoding="utf-8", errors="replace")


def resolve(values: dict[str, Any]) -> int | None:
    """`backbone.vocab` of a configuration: rows that the data's tokenizer needs; None of what reads no text."""
    data, name = values.get("data"), str((values.get("backbone") or {}).get("name"))
    if not name.startswith("text") or not isinstance(data, dict) or data.get("tokenizer") is None:
        return None
    vocab = data.get("vocab")
    return rows_of(str(data["tokenizer"]), vocab if isinstance(vocab, int) else None)
