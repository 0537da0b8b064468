"""The texts of cards, as files beside this one: text with `$name`, and JSON whose strings "$name" stand for values."""

import json
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).parent


def text(name: str, /, **values: str) -> str:
    """The template with its values. A name that the template has and `values` lacks is a KeyError."""
    return Template((FOLDER / name).read_text(encoding="utf-8").removesuffix("\n")).substitute(values)


def data(name: str, /, **values: Any) -> dict[str, Any]:
    """The JSON template with its values, any JSON value each. A key whose value is None is left out."""
    return _filled(json.loads((FOLDER / name).read_text(encoding="utf-8")), values)


def _filled(node: Any, values: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        pairs = ((key, _filled(value, values)) for key, value in node.items())
        return {key: value for key, value in pairs if value is not None}
    if isinstance(node, str) and node.startswith("$"):
        return values[node[1:]]
    return node
