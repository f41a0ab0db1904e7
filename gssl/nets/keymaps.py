"""From the names in other people's checkpoints to ours: what is taken off, what is renamed, what is refused.

Only what computes the same is renamed. Where names tell that a network computes something else, it is refused: its
weights would fit and its features would be wrong.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gssl.errors import UsageError
from gssl.nets import prefixes, vit_files
from gssl.nets.vit import position_embedding

# how others wrap a network: a dict inside a dict ("teacher": DINO's own checkpoints), …
NESTS = ("state_dict", "model_state_dict", "model", "teacher")
# … then the attribute that holds the trunk; where there are several, the one that stands first here
PREFIXES = (
    "module.",
    "model.",
    "backbone.",
    "encoder.",
    "encoder_q.",  # MoCo's own
    "base_encoder.",  # MoCo v3's own
    "teacher_backbone.",  # DINO is evaluated by the average
    "student_backbone.",
)
TRUNKS = PREFIXES[2:]
# whose checkpoints have such keys beside the trunk
BESIDE = {
    "lightly": (
        "projection_head.",
        "prediction_head.",
        "online_classifier.",
        "backbone_momentum.",
        "projection_head_momentum.",
        "student_",
        "teacher_",
    ),
    "solo-learn": ("projector.", "classifier.", "momentum_backbone.", "momentum_encoder.", "momentum_projector."),
}
STEM = {"0.": "conv1.", "1.": "bn1."}
LAYERS = ("layer1.", "layer2.", "layer3.", "layer4.")
TOKENS = ("cls_token", "class_token", "class_embedding")  # of timm, torchvision and OpenCLIP
# by the last convolution of a block, and the blocks per layer
RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("conv2", (2, 2, 2, 2)): "resnet18",
    ("conv3", (3, 4, 6, 3)): "resnet50",
}
WIDEST = 192  # of a ViT with three heads, as ours have: weights do not tell how many there are
INTO_TIMM = "weights=timm:NAME@FILE reads such a file into timm's own network"


class State(dict[str, Tensor]):
    """A state dict that knows how it was found.

    `unwrapped`: nests and prefixes that were taken off; `dropped`: keys beside the trunk (heads, a momentum copy) that
    went with them; `renamed`: rules such as "4. → layer1."; `mapped_by`: whose names they were, None for ours.
    `everything`: all named tensors of the file, None where a prefix was chosen or nobody looks further.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        unwrapped: Iterable[str] = (),
        dropped: Iterable[str] = (),
        renamed: Iterable[str] = (),
        mapped_by: str | None = None,
        everything: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(tensors)
        self.unwrapped, self.dropped, self.renamed = list(unwrapped), list(dropped), list(renamed)
        self.mapped_by, self.everything = mapped_by, everything

    def having(self, tensors: Mapping[str, Tensor]) -> "State":
        """Other tensors, found in the same way."""
        return State(tensors, self.unwrapped, self.dropped, self.renamed, self.mapped_by)

    def fitted(self, own: Mapping[str, Tensor]) -> "State":
        """This one, or what stands behind another prefix of the file, where more of `own` fits there."""
        if self.everything is None:
            return self
        fits = sum(key in own and own[key].shape == value.shape and value.ndim > 0 for key, value in self.items())
        prefix, count = prefixes.fitting(self.everything, own)
        if count <= fits:
            return self
        kept = prefixes.below(self.everything, prefix) if prefix else dict(self.everything)
        dropped = [key for key in self.everything if not key.startswith(prefix)]
        return State(kept, [prefix] if prefix else [], dropped)


def unwrap(content: object, rename: bool = True, prefix: str | None = None) -> State:
    """The trunk's tensors in a checkpoint's nested dicts, by our names or (`rename` false) by its own.

    prefix: where they stand, of all names in the file; without one it is found. Raises UsageError where there are none
    or where several networks could be meant, and with `rename` where they belong to a network that we do not have.
    """
    everything = prefixes.flat(content)
    if not everything:
        raise UsageError("holds no named tensors; expected a state dict")
    if prefix is not None:
        tensors, taken = prefixes.below(everything, prefix), [prefix]
        dropped = [key for key in everything if prefix not in key]
    else:
        tensors, taken, dropped = _without_prefixes(content)
        if rename and (where := next((key for key in everything if key.endswith(vit_files.ROOT)), None)):
            root = where.removesuffix(vit_files.ROOT)  # encoder. is a part of torchvision's names, no prefix
            tensors, taken, dropped = prefixes.below(everything, root) if root else everything, [root] * bool(root), []
        if rename and not prefixes.signed(tensors):
            # within what is taken for the network first, then among all that is there
            for names in (tensors, everything):
                if found := prefixes.root(names):
                    dropped = [key for key in names if not key.startswith(found)]
                    taken = [*taken, found] if names is tensors else [found]
                    tensors = prefixes.below(names, found)
                    break
        tensors = tensors or everything
    if rename and (published := vit_files.of_others(tensors)):
        renamed, heads, whose = published
        return State(renamed, taken, [*dropped, *heads], ["cls_token, pos_embed → token, positions"], whose)
    all_names = tensors if prefix is not None else [*tensors, *dropped]
    if rename and (token := next((key for key in all_names if key.rpartition(".")[2] in TOKENS), None)):
        raise UsageError(f"a vision transformer with a class token ({token}), which none of ours computes; {INTO_TIMM}")
    rules = _rules(tensors) if rename else {}
    named = {_renamed(key, rules): value for key, value in tensors.items()}
    if rename and "patch_embed.proj.weight" in tensors:
        named.pop("pos_embed")  # the same as ours
        dropped.append("pos_embed")
    shown = [f"{old} → {new}" for old, new in rules.items()]
    author = _author(tensors, taken, dropped, rules) if rename else None
    return State(named, taken, dropped, shown, author, everything if prefix is None else None)


def _without_prefixes(content: object) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """The tensors behind nests and prefixes that are known by name, what was taken off, and the keys beside them."""
    taken: list[str] = []
    while isinstance(content, dict) and (nest := next((n for n in NESTS if _is_dict(content, n)), None)):
        content = content[nest]
        taken.append(nest)
        if len(taken) > prefixes.DEEP:
            raise UsageError("dicts within dicts without an end; expected a state dict")
    items = content.items() if isinstance(content, dict) else []
    found = {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}
    tensors, dropped = prefixes.bare(found), list[str]()
    taken += prefixes.wrappers(found)
    while prefix := next((p for p in PREFIXES if any(key.startswith(p) for key in tensors)), None):
        dropped += [key for key in tensors if not key.startswith(prefix)]
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        taken.append(prefix)
    return tensors, taken, dropped


def resnet(state: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """(resnet18 or resnet50, side of the first kernel) where `state` has such a network's names with batch norm.

    A first kernel of 3 is taken to be the stem of small images, without max-pooling: weights do not tell.
    """
    if not {"conv1.weight", "bn1.running_mean", "layer1.0.conv2.weight"} <= set(state):
        return None
    blocks = tuple(len({key.split(".")[1] for key in state if key.startswith(layer)}) for layer in LAYERS)
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    name = RESNETS.get((last, blocks))
    return (name, state["conv1.weight"].shape[-1]) if name else None


def _is_dict(content: object, key: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(key), dict)


def _rules(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What replaces which part of the keys. Raises UsageError for other functions than ours."""
    if "patch_embed.proj.weight" in tensors:
        return _vit_rules(tensors)
    rules = {}
    found = (re.fullmatch(r"(\d+)\.0\.conv1\.weight", key) for key in tensors)
    numbers = sorted(int(match[1]) for match in found if match)
    if numbers and "0.weight" in tensors and "1.weight" in tensors:
        # nn.Sequential(*resnet.children()): convolution, norm, ReLU, pooling, four layers
        if numbers != [4, 5, 6, 7]:
            raise UsageError(
                f"a ResNet as nn.Sequential whose layers are numbered {', '.join(map(str, numbers))}: what stands "
                "between its stem and them cannot be determined (lightly's ResNetGenerator loses its ReLU there), so "
                "its features cannot be had; only torchvision's, numbered 4 to 7, are known"
            )
        rules = STEM | {f"{number}.": layer for number, layer in zip(numbers, LAYERS, strict=True)}
    if any(".shortcut." in key for key in tensors) and "layer1.0.conv1.weight" in tensors:
        rules[".shortcut."] = ".downsample."
    return rules


def _vit_rules(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """timm's names; ours computes the same without a class token, with our positions and the norm before the mean."""
    positions, width = tensors.get("pos_embed"), len(tensors["patch_embed.proj.weight"])
    side = round(positions.shape[1] ** 0.5) if positions is not None and positions.ndim == 3 else 0
    ours = position_embedding(width, side) if side and width % 4 == 0 else None
    if (
        positions is None
        or ours is None
        or ours.shape != positions.shape
        or not torch.allclose(ours, positions, atol=1e-5)
    ):
        raise UsageError(f"a vision transformer with positions of its own, ours are fixed waves; {INTO_TIMM}")
    if width > WIDEST:
        raise UsageError(f"a vision transformer {width} wide: such have more heads than ours; {INTO_TIMM}")
    if "norm.weight" not in tensors:
        raise UsageError(f"a vision transformer with its last norm after the mean, ours is before it; {INTO_TIMM}")
    return {"patch_embed.proj.": "patch_embed.", ".mlp.fc": ".fc"}


def _renamed(key: str, rules: Mapping[str, str]) -> str:
    for old, new in rules.items():
        if old.startswith("."):
            key = key.replace(old, new)
        elif key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _author(
    tensors: Mapping[str, Tensor], taken: list[str], dropped: list[str], rules: Mapping[str, str]
) -> str | None:
    """Whose checkpoint it looks like."""
    if "4." in rules or ".shortcut." in rules:
        return "lightly"
    if ".mlp.fc" in rules:
        return "timm"
    if not resnet(tensors):
        return None
    if any(prefix in taken for prefix in ("encoder_q.", "base_encoder.")):
        return "MoCo"
    if any(prefix in taken for prefix in TRUNKS):
        for name, beside in BESIDE.items():
            if any(key.startswith(beside) for key in dropped):
                return name
    return "torchvision"
