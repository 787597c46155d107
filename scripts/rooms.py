"""Count the lines of each room of the house, beside those of a commit.

python -m scripts.rooms [COMMIT]

Every tracked text file counts, with comments and blank lines, except what is generated: the state machines'
JSON where it has a source, docs/reference, recordings and lock files. Without COMMIT: what is committed last.
The last column counts those in files that came since (moved ones aside), most of which are features.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("core", "functions", "training", "layers", "statemachine", "template.yaml", "openapi.yaml")
TOOLS = ("ops", "local", "proof", "scan", "sam_local", "serving_stack", "bench", "scripts")
_GENERATED = ("docs/reference/", "proof/recordings/")
_LOCKS = ("uv.lock", "package-lock.json", "requirements.txt")


def counts(path: str, paths: set[str]) -> bool:
    """Whether a file is written by people."""
    has_source = path.endswith(".asl.json") and path.replace(".json", ".yaml") in paths
    return not (path.startswith(_GENERATED) or path.rsplit("/", 1)[-1] in _LOCKS or has_source)


def room_of(path: str) -> str:
    """The top-level folder that a file lies in, or the file itself beside them; tests are one room."""
    return "tests" if path.startswith("local/tests/") else path.partition("/")[0]


def lines_by_room(files: Mapping[str, bytes]) -> Counter[str]:
    """Lines by room; what is binary has none.

    >>> lines_by_room({"core/a.py": b"x\\ny\\n", "core/b.py": b"z\\n", "docs/i.png": b"\\0\\n"})
    Counter({'core': 3})
    """
    found: Counter[str] = Counter()
    for path, content in files.items():
        if counts(path, set(files)) and b"\0" not in content:
            found[room_of(path)] += content.count(b"\n")
    return found


def committed(commit: str, root: Path = ROOT) -> dict[str, bytes]:
    """The files of a commit, by path."""
    listed = _git(root, "ls-tree", "-r", "-z", "--format=%(objectname) %(path)", commit)
    entries = [entry.split(" ", 1) for entry in listed.decode().split("\0") if entry]
    answer = _git(root, "cat-file", "--batch", given="".join(f"{name}\n" for name, _ in entries).encode())
    files, at = {}, 0
    for _, path in entries:
        head, _, _ = answer[at:].partition(b"\n")
        start = at + len(head) + 1
        size = int(head.split()[2])
        files[path] = answer[start : start + size]
        at = start + size + 1
    return files


def tracked(root: Path = ROOT) -> dict[str, bytes]:
    """The files of the working tree that git knows, or would add."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths = [root / path for path in dict.fromkeys(listed.decode().split("\0")) if path]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}


def came_since(commit: str, root: Path = ROOT) -> set[str]:
    """The paths of tracked files that the commit lacks, but for those that were moved."""
    listed = _git(root, "diff", "-z", "--name-only", "--find-renames", "--diff-filter=A", commit)
    return set(filter(None, listed.decode().split("\0")))


def table(before: Counter[str], after: Counter[str], new: Counter[str]) -> str:
    """Rooms, then sums, with the lines before and after, their ratio, and those in new files."""
    rest = sorted((before.keys() | after.keys()) - {*PRODUCT, *TOOLS, "tests", "docs"})
    groups = {"product": PRODUCT, "tools": TOOLS, "tests": ("tests",), "docs": ("docs",), "the rest": rest}
    rows: list[tuple[str, Sequence[str]]] = []
    for name, rooms in groups.items():
        if len(rooms) > 1:
            rows += [(room, [room]) for room in rooms if before[room] or after[room]]
        rows.append((f"= {name}", rooms))
    rows.append(("= product and tools", (*PRODUCT, *TOOLS)))
    shown = []
    for name, rooms in rows:
        old, now, added = (sum(lines[each] for each in rooms) for lines in (before, after, new))
        shown.append(f"{name:<24}{old:>8,}{now:>8,}  {f'{now / old:.2f}' if old else 'new':>5}{added:>14,}")
    return "\n".join([f"{'room':<24}{'before':>8}{'now':>8}  ratio  in new files", *shown])


def _git(root: Path, *arguments: str, given: bytes | None = None) -> bytes:
    return subprocess.run(["git", *arguments], cwd=root, input=given, capture_output=True, check=True).stdout


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__, file=sys.stderr)
        return 2
    commit = arguments[0] if arguments else "HEAD"
    try:
        before, since = lines_by_room(committed(commit)), came_since(commit)
    except subprocess.CalledProcessError as error:
        print(f"{commit}: {error.stderr.decode().strip()}", file=sys.stderr)
        return 1
    files = tracked()
    new = lines_by_room({path: content for path, content in files.items() if path in since})
    print(table(before, lines_by_room(files), new))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
