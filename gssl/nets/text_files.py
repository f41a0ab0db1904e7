"""Folders with a BERT, a RoBERTa or a GPT-2 in them: what config.json and tokenizer.json say, tensors by our names.

config.json (sizes, activation), the weights and tokenizer.json (ids, special tokens around a text) are read as
transformers writes them, and nothing else; transformers is not imported. RoBERTa's positions begin behind the id of its
padding, and one kind of segment is all that a text has: both are added up into one table of positions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gssl.errors import UsageError
from gssl.nets.foreign_names import joined
from gssl.nets.published_text import ACTIVATIONS, CAUSAL, PREFIX
from gssl.nets.weights import read_tensors

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
MOST = 1 << 24  # of any size in a config.json
SAME = {"gelu_fast": "gelu_new", "swish": "silu"}  # other names of activations
BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert")  # families whose positions begin behind the padding's id
# keys of config.json by what they are, each with its value where it is absent
BERT: dict[str, tuple[str, Any]] = {
    "width": ("hidden_size", 768),
    "depth": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "mlp": ("intermediate_size", 3072),
    "vocab": ("vocab_size", 30522),
    "positions": ("max_position_embeddings", 512),
    "act": ("hidden_act", "gelu"),
    "eps": ("layer_norm_eps", 1e-12),
}
GPT2: dict[str, tuple[str, Any]] = {
    "width": ("n_embd", 768),
    "depth": ("n_layer", 12),
    "heads": ("n_head", 12),
    "mlp": ("n_inner", None),
    "vocab": ("vocab_size", 50257),
    "positions": ("n_positions", 1024),
    "act": ("activation_function", "gelu_new"),
    "eps": ("layer_norm_epsilon", 1e-5),
}
FAMILIES = {"bert": BERT, **dict.fromkeys(BEHIND_PADDING, BERT | {"vocab": ("vocab_size", 50265)}), "gpt2": GPT2}
# what makes another network of it, with the only value that is computed here
ONLY = {
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}

Rules = tuple[tuple[str, str], ...]
OF_BERT: Rules = (
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),  # of the first files
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^embeddings\.word_embeddings\.", "embedding."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.self\.(query|key|value)\.", r".\1."),
    (r"\.attention\.output\.dense\.", ".proj."),
    (r"\.attention\.output\.LayerNorm\.", ".norm1."),
    (r"\.intermediate\.dense\.", ".fc1."),
    (r"\.output\.dense\.", ".fc2."),
    (r"\.output\.LayerNorm\.", ".norm2."),
)
OF_GPT2: Rules = (
    (r"^wte\.", "embedding."),
    (r"^ln_f\.", "norm."),
    (r"^h\.(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.c_attn\.", ".qkv."),
    (r"\.attn\.c_proj\.", ".proj."),
    (r"\.mlp\.c_fc\.", ".fc1."),
    (r"\.mlp\.c_proj\.", ".fc2."),
)
TRUNKS = ("bert.", "roberta.", "transformer.")
BESIDE = ("pooler.", "cls.", "lm_head.", "classifier.", "qa_outputs.", "score.")  # heads
BUFFERS = re.compile(r"(position_ids|token_type_ids|h\.\d+\.attn\.(bias|masked_bias))$")
POSITIONS = ("embeddings.position_embeddings.weight", "wpe.weight")
SEGMENTS = "embeddings.token_type_embeddings.weight"


@dataclass(frozen=True)
class Described:
    """A folder: the network by our name, its file of weights, and the text of its tokenizer.

    before: rows of the table of positions that stand before the first token's.
    """

    network: str
    file: Path
    tokenizer: str
    before: int
    preprocessing: None = None  # of images
    input: None = None

    def tensors(self) -> dict[str, Tensor]:
        """The weights under our names. Raises UsageError."""
        return renamed(read_tensors(self.file), self.network.startswith(tuple(PREFIX + f for f in CAUSAL)), self.before)


def describe(config: Mapping[str, Any], folder: Path, file: Path, weights: str) -> Described:
    """`weights`: as the user wrote it. Raises UsageError for what is none of `FAMILIES`, or not whole."""
    family = str(config["model_type"])
    where = f"weights={weights}: {folder / CONFIG}"
    for key, value in ONLY.items():
        if config.get(key, value) not in (value, None):
            raise UsageError(f"{where}: {key}={config[key]}: another network than {family} as published; none is read")
    own: dict[str, Any] = {name: config.get(key, absent) for name, (key, absent) in FAMILIES[family].items()}
    own["mlp"] = own["mlp"] or (4 * own["width"] if isinstance(own["width"], int) else None)
    own["act"] = SAME.get(str(own["act"]), own["act"])
    for name, (key, _) in FAMILIES[family].items():
        value = own[name]
        if name == "act":
            fine, expected = value in ACTIVATIONS, ", ".join(ACTIVATIONS)
        elif name == "eps":
            fine, expected = isinstance(value, float | int) and 0 < value < 1, "a number above 0"
        else:
            fine, expected = type(value) is int and 0 < value <= MOST, "a whole number above 0"
        if not fine:
            raise UsageError(f"{where}: {key}={str(value)[:40]}: expected {expected}; fetch the folder again")
    if own["width"] % own["heads"]:
        raise UsageError(f"{where}: {own['heads']} heads do not divide a width of {own['width']}; fetch it again")
    before = 0
    if family in BEHIND_PADDING:
        pad = config.get("pad_token_id", 1)
        if type(pad) is not int or not 0 <= pad < own["positions"] - 1:
            raise UsageError(f"{where}: pad_token_id={pad}: expected an id, behind which positions begin")
        before = pad + 1
        own["positions"] -= before
    text, first, last = _tokenizer(folder, family, own["vocab"], weights)
    return Described(PREFIX + joined(family, own | {"first": first, "last": last}), file, text, before)


def _tokenizer(folder: Path, family: str, rows: int, weights: str) -> tuple[str, list[int], list[int]]:
    """The text of tokenizer.json, and the ids that it puts before and behind a text. Raises UsageError."""
    from tokenizers import Tokenizer

    file = folder / TOKENIZER
    if not file.is_file():
        raise UsageError(
            f"weights={weights}: {folder} has no {TOKENIZER}, which says which ids the network reads; write it with"
            " transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        own: Any = Tokenizer.from_str(text)
        own.no_padding()
        own.no_truncation()
        around = own.encode("a", add_special_tokens=True)
        special = [place is None for place in around.sequence_ids]
        most = max(own.get_vocab(with_added_tokens=True).values())
    except Exception as error:  # the package raises Exception itself
        line = " ".join(str(error).split())[:120]
        raise UsageError(f"weights={weights}: {file} is no {TOKENIZER} ({line}); fetch it again") from error
    if most >= rows:
        raise UsageError(
            f"weights={weights}: {file} has ids up to {most} and the embedding {rows} rows ({CONFIG}: vocab_size), so"
            " that some texts could not be read; take the tokenizer that the weights were trained with"
        )
    # a tokenizer without a token for `a` gives special ones alone: those of an empty text
    at = special.index(False) if False in special else len(special) // 2
    end = len(special) - special[::-1].index(False) if False in special else at
    first, last = list(around.ids[:at]), list(around.ids[end:])
    if family not in CAUSAL and not (first and last):
        raise UsageError(
            f"weights={weights}: {file} puts no special tokens around a text (post_processor), and {family} expects"
            " them, such as [CLS] and [SEP]; save the tokenizer again with transformers"
        )
    return text, first, last


def renamed(state: Mapping[str, Tensor], causal: bool, before: int) -> dict[str, Tensor]:
    """Tensors of transformers under our names: queries, keys and values as one, heads left out."""
    trunk = next((prefix for prefix in TRUNKS if any(key.startswith(prefix) for key in state)), "")
    inside = {key.removeprefix(trunk): value for key, value in state.items() if key.startswith(trunk)}
    found: dict[str, Tensor] = {}
    for key, value in inside.items():
        if key.startswith(BESIDE) or BUFFERS.search(key) or key == SEGMENTS:
            continue
        if key in POSITIONS and value.ndim == 2:
            found["positions"] = _with_segment(value[before:], inside.get(SEGMENTS))
            continue
        name = key
        for pattern, to in OF_GPT2 if causal else OF_BERT:
            name = re.sub(pattern, to, name)
        # GPT-2 keeps its matrices as they are multiplied from the right
        turned = causal and value.ndim == 2 and name.startswith("blocks.")
        found[name] = value.t() if turned else value
    for key in [key for key in found if ".query." in key]:
        parts = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in found and found[part].shape == found[key].shape for part in parts) and found[key].ndim:
            found[key.replace(".query.", ".qkv.")] = torch.cat([found.pop(part) for part in parts])
    return found


def _with_segment(positions: Tensor, segments: Tensor | None) -> Tensor:
    """Every text is of the first kind of segment."""
    if segments is None or segments.ndim != 2 or segments.shape[1:] != positions.shape[1:]:
        return positions
    return positions + segments[0]
