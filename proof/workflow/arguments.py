"""Every task's Arguments against the shape of the operation that it calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from proof.findings import Finding
from proof.product import Product, is_expression, states_of
from proof.workflow.operations import REMEDY, Operation, UnknownResource, operation_of

# Members that Step Functions takes as JSON, whatever the operation says.
_ANY_JSON = {
    ("Invoke", "Payload"),
    ("StartExecution", "Input"),
    ("Publish", "Message"),
    ("SendMessage", "MessageBody"),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (str, int, float),
    "blob": (str,),
}


def check(product: Product) -> Iterator[Finding]:
    """Names, required members, types and enumerations; what JSONata computes may be anything."""
    for machine in product.machines():
        for name, state in states_of(machine.definition()):
            where = f"{machine.path} {name}"
            for field, resource, arguments in _calls(state):
                try:
                    operation = operation_of(resource)
                except UnknownResource as error:
                    yield Finding("resource", where, str(error))
                    continue
                for path, message in _problems(operation, arguments):
                    yield Finding("argument", where, f"{field}{path}: {message}")


def _calls(state: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(field, resource, arguments) of each operation that a state calls; item readers call operations too."""
    if state.get("Type") == "Task":
        yield "Arguments", state.get("Resource", ""), state.get("Arguments", {})
    for field in ("ItemReader", "ResultWriter"):
        if field in state and "Resource" in state[field]:
            resource = state[field]["Resource"].replace(":::s3:", ":::aws-sdk:s3:")
            arguments = dict(state[field].get("Arguments", {}))
            if field == "ResultWriter":  # names a place, of which Step Functions makes each object's key
                arguments["Key"] = arguments.pop("Prefix", "")
            yield f"{field}.Arguments", resource, arguments


def _problems(operation: Operation, arguments: Any) -> Iterator[tuple[str, str]]:
    if is_expression(arguments):
        return
    for name in sorted(arguments.keys() - (operation.supported or arguments.keys())):
        yield f".{name}", f"no published list of the optimised integration's members has it; {REMEDY}"
    skipped = {member for name, member in _ANY_JSON if name == operation.name}
    yield from _against(operation.input_shape, arguments, "", skipped)


def _against(shape: Shape, value: Any, path: str, skipped: set[str]) -> Iterator[tuple[str, str]]:
    if is_expression(value):
        return
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, path, skipped)
    elif isinstance(shape, ListShape):
        if not isinstance(value, list):
            yield path, f"is {type(value).__name__}, not a list"
            return
        for index, each in enumerate(value):
            yield from _against(shape.member, each, f"{path}[{index}]", set())
    elif isinstance(shape, MapShape):
        if not isinstance(value, dict):
            yield path, f"is {type(value).__name__}, not an object"
            return
        for key, each in value.items():
            yield from _against(shape.value, each, f"{path}.{key}", set())
    else:
        yield from _scalar(shape, value, path)


def _structure(shape: StructureShape, value: Any, path: str, skipped: set[str]) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, f"is {type(value).__name__}, not an object"
        return
    # Step Functions spells every member with a capital, as SageMaker does and Lambda does not.
    members = {f"{name[0].upper()}{name[1:]}": member for name, member in shape.members.items()}
    for name, each in value.items():
        if name not in members:
            near = ", ".join(sorted(members)[:40])
            yield f"{path}.{name}", f"{shape.name} has no such member; it has {near}"
        elif name not in skipped:
            yield from _against(members[name], each, f"{path}.{name}", set())
    for name in shape.required_members:
        capital = f"{name[0].upper()}{name[1:]}"
        if capital not in value:
            yield f"{path}.{capital}", f"{shape.name} needs it"


def _scalar(shape: Shape, value: Any, path: str) -> Iterator[tuple[str, str]]:
    wanted = _TYPES.get(shape.type_name, (object,))
    if not isinstance(value, wanted) or (
        isinstance(value, bool) and bool not in wanted and object not in wanted
    ):
        yield path, f"is {type(value).__name__}, not {shape.type_name}"
        return
    known = getattr(shape, "enum", ())
    if isinstance(value, str) and known and "${" not in value and value not in known:
        yield path, f"is {value!r}, not one of {', '.join(known)}"
