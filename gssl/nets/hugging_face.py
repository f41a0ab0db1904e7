"""Models in the folders of the Hugging Face hub: `weights=hf:ORG/NAME`, or a local folder of the same files.

config.json says what the network is. timm's own (`architecture`) is built as it says. Of transformers the vision
networks of DINOv2 (with registers too), ViT and CLIP are known: they are built by timm, which computes the same
(tests/nets/test_hugging_face.py compares the two). Networks of texts are those of `gssl.nets.text_files`. Nothing in
such a folder is run: tensors and JSON are read.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gssl.errors import UsageError
from gssl.nets import foreign, text_files
from gssl.nets.foreign_names import joined
from gssl.nets.weights import read_tensors

PREFIX = "hf:"
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class Described:
    """A folder: the network by timm's name, its file of weights, its preprocessing and its normalisation."""

    name: str
    file: Path
    preprocessing: dict[str, Any]
    input: dict[str, list[float]]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    tokenizer: None = None  # of texts

    @property
    def network(self) -> str:
        return foreign.PREFIX + self.name

    def tensors(self) -> dict[str, Tensor]:
        """The weights under timm's names."""
        return foreign.by_its_names(self.name, self.convert(read_tensors(self.file)))


def find(where: str, weights: str) -> Described | text_files.Described:
    """The model in a folder, or of that name on the hub; `weights`: as the user wrote it. Raises UsageError."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        return _described(folder, weights)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", where):
        raise UsageError(f"weights={weights}: no such folder; expected {PREFIX}ORG/NAME of the hub, or a folder")
    return _described(_downloaded(where, weights), weights)


def is_folder(path: Path) -> bool:
    """Whether a folder looks like one of the hub's models."""
    return (path / CONFIG).is_file() and any((path / name).is_file() for name in WEIGHTS)


def _downloaded(where: str, weights: str) -> Path:
    """The folder of the hub's own cache that holds the files."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise UsageError(f"weights={weights}: needs huggingface_hub; pip install 'gssl[timm]'") from error
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    name, _, revision = where.partition("@")
    fetch: Any = lambda file: hf_hub_download(name, file, revision=revision or None)  # noqa: E731

    def optional(file: str) -> Path | None:
        try:
            return Path(fetch(file))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None

    try:
        folder = Path(fetch(CONFIG)).parent
        optional(text_files.TOKENIZER if _json(folder / CONFIG).get("model_type") in text_files.FAMILIES else PROCESSOR)
        if not any(optional(file) for file in WEIGHTS):
            raise UsageError(f"weights={weights}: this model has none of {', '.join(WEIGHTS)}")
    except UsageError:
        raise
    except Exception as error:  # of whatever fetches
        line = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"weights={weights}: cannot fetch it ({line[:120]}); where there is no network, fetch it elsewhere (hf"
            f" download {name} --local-dir FOLDER) and give the folder: weights={PREFIX}FOLDER"
        ) from error
    finally:
        logger.setLevel(level)
    return folder


def _described(folder: Path, weights: str) -> Described | text_files.Described:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"weights={weights}: {folder} has no readable {CONFIG}, which says what it is") from error
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise UsageError(f"weights={weights}: {folder} has none of {', '.join(WEIGHTS)}")
    if not isinstance(config, dict):
        raise UsageError(f"weights={weights}: {folder} has no readable {CONFIG}, which says what it is")
    if "architecture" in config:
        return _of_timm(config, file, weights)
    kind = str(config.get("model_type"))
    if kind in text_files.FAMILIES:
        return text_files.describe(config, folder, file, weights)
    if kind not in KNOWN:
        raise UsageError(
            f"weights={weights}: {folder / CONFIG} is of model_type {kind}; known are networks of timm, and of"
            f" transformers {', '.join(KNOWN)} (images), {', '.join(text_files.FAMILIES)} (texts); timm:NAME@FILE"
            " reads what timm has a name for"
        )
    return _of_transformers(kind, config, folder, file)


def _of_timm(config: Mapping[str, Any], file: Path, weights: str) -> Described:
    """As timm writes them: architecture, pretrained_cfg, model_args."""
    cfg = dict(config.get("pretrained_cfg") or config)
    arch, options = str(config["architecture"]), dict(config.get("model_args") or {})
    tagged = f"{arch}.{cfg.get('tag')}"
    try:
        foreign.check(tagged)
        arch = tagged
    except UsageError:
        pass
    kept = {key: value for key, value in options.items() if key not in ("num_classes", "dynamic_img_size")}
    if kept.pop("in_chans", 3) != 3:
        raise UsageError(f"weights={weights}: made for images of {options['in_chans']} channels; expected 3")
    if isinstance(kept.get("img_size"), list):
        height, width = kept["img_size"]
        if height != width:
            raise UsageError(f"weights={weights}: made for images of {height} × {width} pixels; expected squares")
        kept["img_size"] = height
    name = joined(arch, kept)
    foreign.check(name)
    mean, std = cfg.get("mean", foreign.IMAGENET[0]), cfg.get("std", foreign.IMAGENET[1])
    return Described(
        name, file, foreign.of_config(cfg, kept.get("img_size")), {"mean": list(mean), "std": list(std)}, dict
    )


# ── transformers ─────────────────────────────────────────────────────────────────────────────────


def _of_transformers(kind: str, config: Mapping[str, Any], folder: Path, file: Path) -> Described:
    vision = config.get("vision_config", config) if kind == "clip" else config
    processor = _json(folder / PROCESSOR)
    preprocessing = _processor(processor, int(vision.get("image_size", 224)))
    base, rules = KNOWN[kind]
    if kind.startswith("clip") and vision.get("hidden_act", "quick_gelu") == "quick_gelu":
        base = base.replace("clip", "clip_quickgelu")
    if vision.get("use_swiglu_ffn"):
        base = base.replace("small", "giant")
    defaults = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 16}
    size = {key: int(vision.get(key, value)) for key, value in defaults.items()}
    if kind.startswith("clip") and "patch_size" not in vision:
        size["patch_size"] = 32
    options = {
        "embed_dim": size["hidden_size"],
        "depth": size["num_hidden_layers"],
        "num_heads": size["num_attention_heads"],
        "patch_size": size["patch_size"],
        "img_size": preprocessing["size"],
    }
    wide = vision.get("intermediate_size")
    if wide and int(wide) != 4 * size["hidden_size"]:
        options["mlp_ratio"] = int(wide) / size["hidden_size"]
    if "num_register_tokens" in vision:
        options["reg_tokens"] = int(vision["num_register_tokens"])
    name = joined(base, options)
    foreign.check(name)
    default = foreign.normalisation(base)
    mean, std = processor.get("image_mean") or default[0], processor.get("image_std") or default[1]
    return Described(
        name, file, preprocessing, {"mean": list(mean), "std": list(std)}, lambda state: renamed(state, rules)
    )


def _processor(found: Mapping[str, Any], size: int) -> dict[str, Any]:
    """preprocessor_config.json as a preprocessing; without one images are resized to the network's size."""
    crop, resize = _side(found.get("crop_size")), _side(found.get("size"))
    if not found.get("do_center_crop", crop is not None) or crop is None:
        crop = resize or size
    squeezed = isinstance(found.get("size"), dict) and "height" in found["size"] and "width" in found["size"]
    fraction = min(1.0, crop / resize) if resize else 1.0
    how = RESAMPLING.get(found.get("resample", 3), "bicubic")
    return {"size": crop, "fit": "squash" if squeezed else "short", "crop": fraction, "interpolation": how}


def _side(value: Any) -> int | None:
    """{"shortest_edge": 256}, {"height": 224, "width": 224} or 224."""
    if isinstance(value, dict):
        value = value.get("shortest_edge") or value.get("height")
    return int(value) if value else None


Rules = list[tuple[str, str]]
COMMON: Rules = [
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.register_tokens$", "register_tokens"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(encoder\.)?layers?\.(\d+)\.", r"blocks.\2."),
    (r"\.attention\.(attention\.)?(query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(attention\.)?(key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(attention\.)?(value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
]
CLIP: Rules = [
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"^post_layernorm\.", "norm."),
]
KNOWN: dict[str, tuple[str, Rules]] = {  # model_type → timm's network, names of tensors
    "dinov2": ("vit_small_patch14_dinov2", COMMON),
    "dinov2_with_registers": ("vit_small_patch14_reg4_dinov2", COMMON),
    "vit": ("vit_base_patch16_224", COMMON),
    "clip": ("vit_base_patch32_clip_224", CLIP),
    "clip_vision_model": ("vit_base_patch32_clip_224", CLIP),
}
TRUNKS = ("vision_model.", "dinov2.", "dinov2_with_registers.", "vit.")
BESIDE = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "pooler.", "classifier.")
ABSENT = ("position_ids",)  # buffers that count


def renamed(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Tensors of transformers under timm's names: queries, keys and values as one, heads and texts left out."""
    trunk = next((prefix for prefix in TRUNKS if any(key.startswith(prefix) for key in state)), "")
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(BESIDE) or key.endswith(ABSENT) or not key.startswith(trunk):
            continue
        name = key.removeprefix(trunk)
        if name.startswith(BESIDE):
            continue
        for pattern, to in rules:
            name = re.sub(pattern, to, name)
        if name == "cls_token":
            value = value.reshape(1, 1, -1)
        elif name == "pos_embed":
            value = value.reshape(1, *value.shape[-2:])
        found[name] = value
    for key in [key for key in found if re.search(r"\.attn\.q\.", key)]:
        parts = [found.pop(key.replace(".attn.q.", f".attn.{part}.")) for part in "qkv"]
        found[key.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
