"""What each function unzips to with its layers, from the sizes of the packages that are installed here."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import metadata
from typing import Any

from proof.findings import Finding
from proof.product import ROOT, Product

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LIMIT_BYTES = 262_144_000
_NAME = re.compile(r"^([A-Za-z0-9._-]+)==")
_LEFT_OUT = re.compile(r"(^|/)(tests|__pycache__|[^/]+\.dist-info|bin)/|^\.\.")


def check(product: Product) -> Iterator[Finding]:
    """No function is larger with its layers than Lambda takes."""
    layers = product.of_type("AWS::Serverless::LayerVersion")
    common = product.document.get("Globals", {}).get("Function", {}).get("Layers", [])
    sizes = {name: _layer_bytes(product, properties) for name, properties in layers.items()}
    for name, properties in product.functions().items():
        used = [layer["Ref"] for layer in [*common, *properties.get("Layers", [])]]
        total = sum(sizes[layer] for layer in used)
        if total > LIMIT_BYTES:
            parts = ", ".join(f"{layer} {sizes[layer] / 1e6:.0f} MB" for layer in used)
            yield Finding(
                "size",
                name,
                f"unzips to {total / 1e6:.0f} MB with its layers ({parts}); Lambda takes 262 MB",
            )


def _layer_bytes(product: Product, properties: Mapping[str, Any]) -> int:
    folder = str(properties["ContentUri"]).rstrip("/")
    unused = _unused(folder)
    return sum(
        _package_bytes(match[1], unused)
        for line in product.requirements.get(folder, "").splitlines()
        if (match := _NAME.match(line))
    )


@functools.cache
def _unused(folder: str) -> tuple[str, ...]:
    """What the layer's Makefile takes out."""
    path = ROOT / folder / "Makefile"
    text = path.read_text().replace("\\\n", " ") if path.is_file() else ""
    found = re.search(r"^UNUSED = (.+)$", text, re.MULTILINE)
    return tuple(found[1].split()) if found else ()


@functools.cache
def _package_bytes(name: str, unused: tuple[str, ...]) -> int:
    """A package's bytes in a layer: its files, and the byte code of its modules, which is about as large."""
    total = 0
    for file in metadata.files(name) or []:
        path = str(file)
        if _LEFT_OUT.search(path) or _is_unused(path, unused):
            continue
        size = file.size or 0
        total += 2 * size if path.endswith(".py") else size
    return total


def _is_unused(path: str, unused: tuple[str, ...]) -> bool:
    """Whether a pattern names the file or a folder that it is in; a ``*`` is of one folder, as in a shell."""
    parts = path.split("/")
    return any(
        len(parts) >= len(wanted) and all(map(fnmatchcase, parts, wanted))
        for wanted in (pattern.split("/") for pattern in unused)
    )
