"""Libraries of one's own at run time: wheels, made importable where nothing can be installed.

A job finds them in its ``code`` channel, a served model in its archive, both in the folder ``wheels``. What
the image has itself is never among them; see ``wheels.py``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import importlib.util
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dropforge.domain.errors import UnusableLibrary
from shared_objects import Dynamic, needed, objects_below

FOLDER = "wheels"
OPENMP = "libgomp.so.1"
"""GCC's OpenMP runtime. Some wheels (LightGBM's) expect the system to have it; SageMaker's image need not."""

MAXIMUM_UNPACKED_BYTES = 2 * 1024**3

_added: dict[str, Path] = {}


def add(folder: Path) -> None:
    """Make the wheels in a folder importable, before what the image has. Doing so again changes nothing.

    Raises:
        UnusableLibrary: a wheel is damaged or too large, or another copy of its modules is loaded already.
    """
    wheels = sorted(path for path in folder.glob("*.whl") if path.name not in _added)
    if not wheels:
        return
    place = Path(tempfile.mkdtemp(prefix="libraries-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    left = MAXIMUM_UNPACKED_BYTES
    for wheel in wheels:
        left -= unpack(wheel, place, left)
        _added[wheel.name] = place
    for name in sorted(entry.name.partition(".")[0] for entry in place.iterdir()):
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if loaded is not None:
            raise UnusableLibrary(f"{name} of {FOLDER}/ was loaded from {loaded} before.")
    # After the code itself, before the image: what is pinned is what is imported.
    sys.path.insert(1, str(place))
    importlib.invalidate_caches()
    if any(OPENMP in needed(path) for path in objects_below(place)):
        provide_openmp(place)
    print(f"libraries: {', '.join(sorted(names_of(wheels)))}", flush=True)


def imported(folder: Path) -> list[Path]:
    """Return the wheels of a folder of which something has been imported in this process, after `add`."""
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    found = []
    for wheel in sorted(folder.glob("*.whl")):
        place = _added.get(wheel.name)
        if place is None:
            continue
        with zipfile.ZipFile(wheel) as archive:
            targets = filter(None, map(_target, archive.namelist()))
            holds = {str(place / target) for target in targets}
        if files & holds:
            found.append(wheel)
    return found


def loaded_now() -> set[str]:
    """Return the names of the packages, and of modules outside of any, that are loaded."""
    return {name.partition(".")[0] for name in sys.modules}


def forget(packages: set[str]) -> None:
    """Let packages of wheels count as not `imported`; who needs one loads it again."""
    places = {f"{place}/" for place in _added.values()}
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] in packages and any(file.startswith(place) for place in places):
            del sys.modules[name]


def names_of(wheels: list[Path]) -> Iterator[str]:
    """Yield ``name version`` of each wheel, by its file's name."""
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        yield f"{name.replace('_', '-')} {version}"


def versions(wheels: list[Path]) -> dict[str, str]:
    """Return the version of each wheel by its distribution's name."""
    return dict(each.split(" ") for each in names_of(wheels))


def unpack(wheel: Path, folder: Path, maximum_bytes: int) -> int:
    """Unpack what is to be imported of a wheel. Returns its bytes.

    Raises:
        UnusableLibrary: it is damaged, larger than allowed, or has a path that leads out of the folder.
    """
    written = 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                target = _target(member.filename)
                if target is None or member.is_dir():
                    continue
                written += member.file_size
                if written > maximum_bytes:
                    raise UnusableLibrary(f"{wheel.name} unpacks to more than {maximum_bytes} bytes.")
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UnusableLibrary(f"{wheel.name} can't be unpacked: {error}") from error
    return written


def _target(name: str) -> PurePosixPath | None:
    """Where a member goes, below the folder; None for scripts, headers and data, which nothing imports."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{name!r} leads out of the folder")
    if path.parts and path.parts[0].endswith(".data"):
        if len(path.parts) < 3 or path.parts[1] not in ("purelib", "platlib"):
            return None
        return PurePosixPath(*path.parts[2:])
    return path if path.parts else None


def provide_openmp(folder: Path) -> None:
    """Load GCC's OpenMP runtime under the name that wheels ask for, where the system doesn't have it.

    scikit-learn brings a copy under a name of its own. A library that is loaded serves whatever asks for its
    name, so a copy of that copy is given the plain name.

    Raises:
        UnusableLibrary: scikit-learn's isn't there either.
    """
    with contextlib.suppress(OSError):
        ctypes.CDLL(OPENMP)
        return
    sklearn = importlib.util.find_spec("sklearn")
    beside = Path(sklearn.origin).parents[1] / "scikit_learn.libs" if sklearn and sklearn.origin else folder
    copies = sorted(beside.glob("libgomp*.so*"))
    if not copies:
        raise UnusableLibrary(f"a library needs {OPENMP}, which this image lacks.")
    named = folder / OPENMP
    shutil.copyfile(copies[0], named)
    with named.open("r+b") as file:
        dynamic = Dynamic.read(file)
        # The longer name's place takes the shorter one.
        if dynamic is None or dynamic.name is None or len(dynamic.name) < len(OPENMP):
            raise UnusableLibrary(f"{copies[0].name} can't be given the name {OPENMP}.")
        file.seek(dynamic.name_at)
        file.write(OPENMP.encode() + b"\0")
    ctypes.CDLL(str(named))
    print(f"{OPENMP}: scikit-learn's copy, since the system has none", flush=True)
