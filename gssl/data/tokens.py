"""Texts as ids of tokens: what is trained on training texts alone, and one JSON text is all of it.

Ids below `FIRST` are this project's own and stand for no text, so that nothing a user writes can be taken for one of
them; a token of the tokenizer has its id there plus `FIRST`. `tokenizers` is imported when a tokenizer is first used.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from gssl.data.draws import digest
from gssl.errors import UsageError
from gssl.vocabulary import BYTES, FIRST

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads and a forked process do not go together

NO_CHARACTER = "\ufffd"  # what stands for a character that the training texts do not have


class Tokenizer:
    """A tokenizer by its JSON, as the package `tokenizers` writes it. Raises ValueError for what is none."""

    def __init__(self, text: str) -> None:
        from tokenizers import Tokenizer as Rust

        self.json = text
        try:
            self._rust = Rust.from_str(text)
        except Exception as error:  # the package raises Exception itself
            raise ValueError(" ".join(str(error).split())[:120]) from error
        self._rust.encode_special_tokens = True  # <s> in a text is three characters and no special token
        self._rust.no_padding()
        self._rust.no_truncation()

    @cached_property
    def hash(self) -> str:
        """Hexadecimal."""
        return digest("tokenizer", self.json).hex()

    @cached_property
    def count(self) -> int:
        """Rows that an embedding needs: the largest id and one."""
        return FIRST + 1 + max(self._rust.get_vocab(with_added_tokens=True).values())

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int64 ids of each text; an empty text has none."""
        found = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int64) + FIRST for one in found]

    def characters(self, text: str, count: int) -> int:
        """How many characters of a text its first `count` tokens reach to."""
        ends = self._rust.encode(text, add_special_tokens=False).offsets[:count]
        return int(ends[-1][1]) if ends else 0

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; what stands for no text is left out."""
        found: str = self._rust.decode([i - FIRST for i in ids if i >= FIRST], skip_special_tokens=False)
        return found


def trained(kind: str, texts: Sequence[str], count: int, lowercase: bool) -> Tokenizer:
    """A tokenizer with at most `count` rows of an embedding, learned from `texts`. Raises UsageError."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Rust

    room = count - FIRST
    if kind in ("byte", "bpe") and room < BYTES:
        raise UsageError(f"data.vocab={room}: is smaller than the alphabet of {BYTES} bytes; use {BYTES} or more")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if kind == "char":
        counted = Counter(c for text in texts for c in (text.lower() if lowercase else text))
        order = sorted(counted, key=lambda c: (-counted[c], c))[: room - 1]
        ids = {c: i for i, c in enumerate([NO_CHARACTER, *(c for c in order if c != NO_CHARACTER)])}
        rust = Rust(models.WordLevel(ids, unk_token=NO_CHARACTER))
        rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        rust.decoder = decoders.Fuse()
    else:
        rust = Rust(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "bpe")
        rust.decoder = decoders.ByteLevel()
    if lowercase:
        rust.normalizer = normalizers.Lowercase()
    if kind == "bpe":
        trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=alphabet, show_progress=False)
        rust.train_from_iterator(texts, trainer)
    return Tokenizer(rust.to_str())
