"""Tags on any resource of the service."""

from __future__ import annotations

from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.errors import validation
from dropforge_local.sagemaker.store import Resource, Transaction

_MAX_TAGS = 50  # per resource, AWS's general limit


class Tags:
    """AddTags, ListTags and DeleteTags."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add(self, request: dict[str, Any]) -> dict[str, Any]:
        """AddTags; a key that is there already gets the new value. Returns all tags."""
        with self._context.store.transaction() as tx:
            arn = self._resource(tx, request["ResourceArn"]).arn
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request["Tags"]})
            tags = tx.tags(arn)
            if len(tags) > _MAX_TAGS:
                raise validation(f"A resource can have at most {_MAX_TAGS} tags.")
        return {"Tags": _as_list(tags)}

    def list_page(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListTags: all of them; a resource has at most 50."""
        with self._context.store.transaction() as tx:
            return {"Tags": _as_list(tx.tags(self._resource(tx, request["ResourceArn"]).arn))}

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteTags; keys that aren't there are ignored."""
        with self._context.store.transaction() as tx:
            tx.remove_tags(self._resource(tx, request["ResourceArn"]).arn, request["TagKeys"])
        return {}

    def _resource(self, tx: Transaction, arn: str) -> Resource:
        kind, name = self._context.arns.parse(arn)
        found = tx.get(kind, name)
        if found is None:
            raise validation(f"Requested resource {arn} not found.")
        return found


def _as_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
