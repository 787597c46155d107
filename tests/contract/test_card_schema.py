"""The local registry takes the cards that AWS takes: its schema beside the one that AWS publishes."""

from __future__ import annotations

import json
from typing import Any

from tests.published_card_schema import published

from dropforge_local.sagemaker.model_card import schema

# In CloudFormation a graph's numbers may be texts, because any number may be written as one there.
_NUMBER_OF_A_TEMPLATE = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_NOTHING_SAID = ("insertionOrder", "default", "minLength")


def comparable(found: Any) -> Any:
    """A schema without what makes no difference to a card, its bounds and members in one spelling."""
    if isinstance(found, list):
        return sorted((comparable(each) for each in found), key=lambda each: json.dumps(each, sort_keys=True))
    if not isinstance(found, dict):
        return found
    if found == _NUMBER_OF_A_TEMPLATE:
        return {"type": "number"}
    made = {name: comparable(value) for name, value in found.items() if name not in _NOTHING_SAID}
    items = made.get("items")
    # The bound of some lists stands among the members of an item there.
    if isinstance(items, dict) and items.get("type") == "object" and "maxItems" in items:
        made["maxItems"] = items.pop("maxItems")
    if str(made.get("pattern", "")).strip("^$").startswith(".{1,"):
        made["pattern"] = made["pattern"].strip("^$")
        made.pop("maxLength", None)
    if made.get("required") == []:
        del made["required"]
    if "required" in made:
        made["required"] = sorted(made["required"])
    return made


def test_the_schema_is_the_published_one() -> None:
    wanted = comparable(published())
    # The content's length is that of its text, which botocore's shape bounds.
    wanted.pop("maxLength")
    assert comparable(schema()) == wanted
