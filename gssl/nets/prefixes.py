"""Where in a checkpoint of others the network is: nested dicts, wrappers within names, prefixes.

A prefix is found by what stands behind it: the names and shapes of the network that is to be filled, or, where that
is not known yet, names that networks of ours or of torchvision and timm have.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gssl.errors import UsageError

DEEP = 6  # levels of dicts within dicts
# what compiling, sharding and checkpointing of activations write into names
WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
SIGNS = (
    ("conv1.weight", "layer1.0.conv1.weight"),
    ("0.weight", "4.0.conv1.weight"),  # nn.Sequential of a ResNet's parts
    ("patch_embed.proj.weight", "blocks.0.norm1.weight"),
    ("patch_embed.weight", "blocks.0.norm1.weight"),
    ("blocks.0.0.weight", "blocks.1.0.weight"),
)
SECOND = ("momentum", "target", "student", "encoder_k", "key")  # the copy beside the one that is evaluated
SHOWN = 6


def flat(content: object) -> dict[str, Tensor]:
    """All named tensors of nested dicts, their names joined by dots, without wrappers."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()  # a pickle may hold a dict that holds itself

    def walk(part: object, above: str, depth: int) -> None:
        if not isinstance(part, dict) or id(part) in seen or depth > DEEP:
            return
        seen.add(id(part))
        for key, value in part.items():
            if isinstance(key, str) and isinstance(value, Tensor):
                found[above + key] = value
            elif isinstance(key, str):
                walk(value, f"{above}{key}.", depth + 1)

    walk(content, "", 0)
    return bare(found)


def bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` without `WRAPPERS` in their names; as they are where two would have one name."""
    found = {".".join(part for part in key.split(".") if part not in WRAPPERS): v for key, v in tensors.items()}
    return found if len(found) == len(tensors) else dict(tensors)


def wrappers(keys: Iterable[str]) -> list[str]:
    """Those of `WRAPPERS` that the names have, for the load report."""
    there = {part for key in keys for part in key.split(".")} & WRAPPERS
    return [f"{name}." for name in sorted(there)]


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What stands behind `prefix`, which may lack the dicts around it where one place alone has it.

    Raises UsageError that lists the names where nothing does.
    """
    inside = {key[: at + 1] + prefix for key in tensors if (at := key.find(f".{prefix}")) >= 0}
    starts = [prefix, *(inside if len(inside) == 1 else [])]
    for start in (each + end for each in starts for end in ("", ".")):
        if found := {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}:
            return {key.removeprefix("."): value for key, value in found.items()}
    raise UsageError(f"no name begins with weights.prefix={prefix}; there is {listed(tensors)}")


def listed(tensors: Mapping[str, Tensor]) -> str:
    """The beginnings of the names with their counts, and the first names."""
    heads = Counter(".".join(key.split(".")[:2]) + "." if key.count(".") > 1 else key for key in tensors)
    shown = ", ".join(f"{head} ({count})" for head, count in heads.most_common(SHOWN))
    return shown + (f" and {len(heads) - SHOWN} more" if len(heads) > SHOWN else "")


def signed(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of a network as they stand."""
    return any(all(sign in tensors for sign in signs) for signs in SIGNS)


def root(tensors: Mapping[str, Tensor]) -> str | None:
    """The prefix behind which the names of a network stand, None where there is none. Raises UsageError for several."""
    found = []
    for first, *rest in SIGNS:
        roots = (key.removesuffix(first) for key in tensors if key.endswith(f".{first}"))
        found += [prefix for prefix in roots if all(prefix + sign in tensors for sign in rest)]
    return _chosen(tensors, list(dict.fromkeys(found)))


def fitting(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, int]:
    """The prefix behind which most of `own` stands by name and shape, and how many of its tensors do.

    Raises UsageError where two networks fit equally well.
    """
    counts: Counter[str] = Counter()
    for key, value in tensors.items():
        parts = key.split(".")
        for i in range(len(parts)):
            name = ".".join(parts[i:])
            if name in own and own[name].shape == value.shape and own[name].ndim > 0:
                counts[key.removesuffix(name)] += 1
    if not counts:
        return "", 0
    best = max(counts.values())
    roots = [prefix for prefix, count in counts.items() if count == best]
    return ("" if "" in roots else _chosen(tensors, roots) or ""), best


def _chosen(tensors: Mapping[str, Tensor], roots: list[str]) -> str | None:
    """One of several prefixes: not the copy beside the network that is evaluated."""
    first = [prefix for prefix in roots if not any(_second(part, roots) for part in prefix.split("."))]
    left = first or roots
    if len(left) < 2 or all(_same(tensors, left[0], other) for other in left[1:]):
        return left[0] if left else None
    raise UsageError(
        f"{len(left)} networks in it, behind {', '.join(left[:SHOWN])}: say which one, such as weights.prefix={left[0]}"
    )


def _second(part: str, roots: list[str]) -> bool:
    """Of student and teacher the teacher is evaluated; a student alone is what there is."""
    if "student" in part:
        return any("teacher" in prefix for prefix in roots)
    return any(word in part for word in SECOND if word != "key") or part.startswith("key_")


def _same(tensors: Mapping[str, Tensor], one: str, other: str) -> bool:
    mine, its = below(tensors, one), below(tensors, other)
    return mine.keys() == its.keys() and all(torch.equal(value, its[key]) for key, value in mine.items())
