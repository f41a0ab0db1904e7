"""How networks of timm are named in configurations and descriptions: NAME, or NAME?option=value&… for another shape.

Options are those of timm's constructors, such as `vit_small_patch14_dinov2.lvd142m?img_size=224`.
"""

import json
from collections.abc import Mapping
from typing import Any

OPTIONS = "?"


def split(name: str) -> tuple[str, dict[str, Any]]:
    """timm's name and the options behind it."""
    base, _, rest = name.partition(OPTIONS)
    options = {}
    for part in filter(None, rest.split("&")):
        key, _, value = part.partition("=")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return base, options


def joined(base: str, options: Mapping[str, Any]) -> str:
    """The inverse of `split`."""
    return base + OPTIONS * bool(options) + "&".join(f"{key}={json.dumps(value)}" for key, value in options.items())
