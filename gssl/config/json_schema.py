"""The JSON schema of a command's configuration, for editors: `gssl COMMAND --cfg schema`."""

from typing import Any

from gssl.config import registry
from gssl.config.validate import families
from gssl.schemas.commands import COMMANDS

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def document(command: str) -> dict[str, Any]:
    """The schema of a command; what its family's section may hold depends on the `name` in it."""
    root = COMMANDS[command]
    made = root.model_json_schema()
    definitions = made.setdefault("$defs", {})
    for family in families(root):
        methods: dict[str, list[str]] = {}
        for name, entry in registry.FAMILIES[family].items():
            schema = entry.schema.model_json_schema()
            title = schema["title"]
            methods.setdefault(title, []).append(name)
            definitions |= schema.pop("$defs", {})
            definitions[title] = schema
        for title, names in methods.items():
            definitions[title]["properties"]["name"] = {"title": "Name", "enum": names}
        pointers = {title: f"#/$defs/{title}" for title in methods}
        made["properties"][family] |= {
            "anyOf": [{"$ref": pointer} for pointer in pointers.values()],
            "discriminator": {
                "propertyName": "name",
                "mapping": {name: pointers[title] for title, names in methods.items() for name in names},
            },
        }
    return {"$schema": DRAFT, "title": f"gssl {command}"} | {k: v for k, v in made.items() if k != "title"}
