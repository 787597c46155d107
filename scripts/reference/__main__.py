"""Write the reference, and what commands print into the pages that show it.

python -m scripts.reference [--check]

With ``--check`` it only says which pages are stale, and ends with 1 if there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.reference import code_pages, command_page, printed_blocks, template_pages

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
PAGES: Mapping[str, Callable[[Path], str]] = {
    "cli.md": command_page.page,
    "parameters.md": template_pages.parameters,
    "functions.md": template_pages.functions,
    "metrics.md": template_pages.metrics,
    "errors.md": code_pages.errors,
    "events.md": code_pages.events,
}
SHOWING = (ROOT / "docs" / "scale.md",)
"""Pages that people write, but for what their commands print."""
_NOTE = "<!-- Written by `make docs`; change what it is written from. -->"


def written() -> dict[Path, str]:
    """Every page's text, by its path."""
    found = {}
    for name, page in PAGES.items():
        head, _, rest = page(ROOT).strip().partition("\n")
        found[FOLDER / name] = f"{head}\n{_NOTE}\n{rest}\n"
    return found | {path: printed_blocks.page(path) for path in SHOWING}


def stale(pages: Mapping[Path, str]) -> list[str]:
    """The pages that are missing, different, or no longer written."""
    there = set(FOLDER.glob("*.md"))
    differing = {
        path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    return sorted(str(path.relative_to(ROOT)) for path in differing | (there - pages.keys()))


def main(arguments: list[str]) -> int:
    try:
        pages = written()
    except template_pages.IncompleteSource as error:
        print(error, file=sys.stderr)
        return 1
    if arguments == ["--check"]:
        found = stale(pages)
        if found:
            print(f"Stale: {', '.join(found)}. Run 'make docs'.", file=sys.stderr)
        return int(bool(found))
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.md"):
        path.unlink()
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
