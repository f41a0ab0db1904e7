"""The JSON schema of a command's configuration, for editors: `gssl COMMAND --cfg schema`."""

from typing import Any

from gssl.config import registry
from gssl.config.validate import chosen
from gssl.schemas.commands import COMMANDS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
# Beside the keys of a method: files of conf/ have it, and `--cfg job` shows it.
RECIPES = {
    "description": "name → overrides that recipe=NAME stands for",
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
}


def document(command: str) -> dict[str, Any]:
    """The schema of a command; what a method's or an executor's section may hold depends on the `name` in it."""
    root = COMMANDS[command]
    made = root.model_json_schema()
    definitions = made.setdefault("$defs", {})
    for family in chosen(root):
        methods = registry.CHOSEN[family]
        for method in methods.values():
            schema = method.model_json_schema()
            definitions |= schema.pop("$defs", {})
            if family in registry.FAMILIES:
                schema["properties"]["recipes"] = RECIPES
            definitions[schema["title"]] = schema
        made["properties"][family] |= {
            "properties": {"name": {"enum": list(methods)}},
            "required": ["name"],
            "allOf": [_where(name, method.__name__) for name, method in methods.items()],
        }
    return {"$schema": DRAFT, "title": f"gssl {command}"} | {k: v for k, v in made.items() if k != "title"}


def _where(name: str, title: str) -> dict[str, Any]:
    """What holds for one method, so that an editor shows the mistakes of that method only."""
    named = {"properties": {"name": {"const": name}}, "required": ["name"]}
    return {"if": named, "then": {"$ref": f"#/$defs/{title}"}}
