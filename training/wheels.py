"""Resolves ``requirements.txt`` for SageMaker's image, and fetches the wheels that its lock pins.

    python training/wheels.py lock         # writes requirements.lock, unless it is of this requirements.txt
    python training/wheels.py check        # fails if it isn't
    python training/wheels.py fetch DIR    # puts the locked wheels into a folder

``make build``, ``make deploy`` and ``dropforge up`` do both. What the image has itself (``image.txt``) takes
part at the image's versions and is never carried. Nothing is built: a library is a wheel that runs in the
image as it is, or it is refused by name.

Exit 1: standard error says what is wrong, beginning with the error's class name.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared_objects import Dynamic, is_object

HERE = Path(__file__).resolve().parent
PYTHON_VERSION = "3.12"
GLIBC = (2, 34)
"""The image's, which is Amazon Linux 2023: wheels for manylinux_2_34 and older run in it."""

PIP = "26.1.2"
"""The release of pip that downloads; it resolves nothing, the lock says all."""

MAXIMUM_BYTES = 200_000_000
"""Of all wheels: a layer of AdmitRun holds them, and Lambda takes 262,144,000 bytes with all layers."""

MAXIMUM_UNPACKED_BYTES = 2 * 1024**3
"""Of all wheels unpacked: a container unpacks them beside the model."""

GUARDED = frozenset(
    {
        *("numpy", "scipy", "sklearn", "pandas", "pyarrow", "joblib", "threadpoolctl", "dropforge"),
        *("flask", "werkzeug", "gunicorn", "gevent", "sagemaker_containers", "sagemaker_inference"),
    }
)
"""Modules that no carried wheel may hold, whatever the wheel is called."""

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)
_SYSTEM = re.compile(r"^# system: (.+)$", re.MULTILINE)
_STAMP = re.compile(r"^# of: ([0-9a-f]{64})$", re.MULTILINE)


class LibraryError(Exception):
    """Base of what keeps libraries from being carried."""


class InvalidRequirement(LibraryError):
    """A line of requirements.txt is none that can be read."""


class UnresolvableRequirement(LibraryError):
    """There are no versions that fit a line, or that fit all lines together."""


class NoFittingWheel(LibraryError):
    """A library is published as source alone, or its wheels are for other Pythons or systems."""


class ReplacesImageLibrary(LibraryError):
    """A library would need other versions of what the image has, or carries modules of the image's."""


class MissingSystemLibrary(LibraryError):
    """A wheel expects a system library that the image lacks."""


class LibrariesTooLarge(LibraryError):
    """The wheels are larger than Lambda's layers, or a container, can take."""


class StaleLock(LibraryError):
    """requirements.lock was not made of this requirements.txt and image.txt."""


class IndexUnreachable(LibraryError):
    """The package index can't be asked."""


@dataclass(frozen=True)
class Files:
    """The folder of requirements, their lock, and what the image has."""

    folder: Path = HERE

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def lock(self) -> Path:
        return self.folder / "requirements.lock"

    @property
    def image(self) -> Path:
        return self.folder / "image.txt"

    def lines(self) -> list[tuple[int, str]]:
        """The requirements and options with the numbers of their lines, without comments."""
        if not self.requirements.is_file():
            return []
        found = []
        for number, line in enumerate(self.requirements.read_text(encoding="utf-8").splitlines(), 1):
            text = re.sub(r"(^|\s)#.*$", "", line).strip()
            if text:
                found.append((number, text))
        return found

    def of_image(self) -> dict[str, str]:
        """The image's versions by the normalised name of the distribution."""
        return {_normal(name): version for name, version in _PINNED.findall(self.image.read_text())}

    def system_libraries(self) -> set[str]:
        """The names of the system libraries that the image has."""
        return {name for line in _SYSTEM.findall(self.image.read_text()) for name in line.split()}

    def stamp(self) -> str:
        """What a lock is made of, as one digest."""
        said = [text for _, text in self.lines()], sorted(self.of_image().items()), PYTHON_VERSION, GLIBC
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def is_locked(self) -> bool:
        """Whether the lock is of these requirements; with none, no lock is needed."""
        if not self.lock.is_file():
            return not self.lines()
        found = _STAMP.search(self.lock.read_text())
        return found is not None and found[1] == self.stamp()

    def require_lock(self) -> None:
        """Raises StaleLock where the lock isn't of these requirements."""
        if not self.is_locked():
            raise StaleLock(
                "requirements.lock is not of this requirements.txt. Run 'python training/wheels.py lock', as "
                "'make build' does, and commit it."
            )


def lock(files: Files) -> bool:
    """Write the lock where it isn't of these requirements. Returns whether it was written.

    Versions that are locked already stay where they still fit.

    Raises:
        InvalidRequirement, UnresolvableRequirement, NoFittingWheel, ReplacesImageLibrary, IndexUnreachable:
            which line, and why.
    """
    if files.is_locked():
        return False
    text = ""
    if files.lines():
        resolved = _resolve(files, files.requirements.read_text(encoding="utf-8"), beside_image=True)
        if resolved.problem is not None:
            raise _diagnosis(files, resolved.problem)
        text = resolved.text
    files.lock.write_text(
        f"# Resolved from requirements.txt for Python {PYTHON_VERSION}, x86_64 and glibc {_glibc()}, beside\n"
        "# what image.txt lists. Written by make build, make deploy and dropforge up; commit it.\n"
        f"# of: {files.stamp()}\n{text}",
        encoding="utf-8",
    )
    return True


@dataclass(frozen=True)
class _Resolved:
    text: str
    problem: str | None


def _resolve(files: Files, requirements: str, *, beside_image: bool) -> _Resolved:
    """Ask uv; the text is that of a lock."""
    with tempfile.TemporaryDirectory(prefix="lock-") as temporary:
        out = Path(temporary, "requirements.lock")
        # What stands there is kept where it fits.
        known = files.lock if beside_image else files.image
        if known.is_file():
            shutil.copyfile(known, out)
        command = [
            *_uv(),
            "pip",
            "compile",
            "--quiet",
            "--python",
            sys.executable,
            "--no-header",
            "--no-annotate",
        ]
        command += ["--generate-hashes", "--only-binary", ":all:", "--python-version", PYTHON_VERSION]
        command += ["--python-platform", f"x86_64-manylinux_{GLIBC[0]}_{GLIBC[1]}", "--output-file", str(out)]
        if beside_image:
            command += ["--constraints", str(files.image)]
            for name in files.of_image():
                command += ["--no-emit-package", name]
        # Relative paths in it (--find-links wheelhouse) are those from its own folder.
        ended = subprocess.run(
            [*command, "-"], input=requirements, capture_output=True, text=True, check=False, cwd=files.folder
        )
        if ended.returncode:
            return _Resolved("", ended.stderr.strip())
        pinned = [line for line in out.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        return _Resolved("".join(f"{line}\n" for line in pinned if line), None)


def _diagnosis(files: Files, problem: str) -> LibraryError:
    """Find the lines that can't be resolved by themselves, and say why."""
    options = [text for _, text in files.lines() if text.startswith("-")]
    found: list[tuple[type[LibraryError], str]] = []
    for number, text in files.lines():
        if text.startswith("-"):
            continue
        alone = "\n".join([*options, text])
        tried = _resolve(files, alone, beside_image=True)
        if tried.problem is None:
            continue
        where = f"requirements.txt, line {number} ({text})"
        replaced = _replaced(files, alone)
        if replaced:
            found.append((ReplacesImageLibrary, f"{where} needs {', '.join(replaced)}"))
        else:
            found.append((_kind(tried.problem), f"{where}: {_told(tried.problem)}"))
    if not found:
        return _kind(problem)(f"the lines of requirements.txt can't be had together: {_told(problem)}")
    kind = found[0][0]
    advice = {
        ReplacesImageLibrary: " Choose a version that fits the image (image.txt), or use an image of "
        "your own (TrainingImageUri).",
        NoFittingWheel: f" It takes a wheel for Python {PYTHON_VERSION}, x86_64 and glibc {_glibc()} or "
        "older: build one and name its folder by --find-links, or use an image of your own "
        "(TrainingImageUri).",
    }.get(kind, "")
    return kind("; ".join(text for _, text in found) + "." + advice)


def _replaced(files: Files, requirements: str) -> list[str]:
    """What the requirements need in other versions than the image's, if that alone is in the way."""
    free = _resolve(files, requirements, beside_image=False)
    if free.problem is not None:
        return []
    has = files.of_image()
    return [
        f"{name} {version} (the image has {has[_normal(name)]})"
        for name, version in _PINNED.findall(free.text)
        if has.get(_normal(name), version) != version
    ]


def _kind(problem: str) -> type[LibraryError]:
    if re.search(
        r"error sending request|Failed to fetch|dns error|Connection refused", problem, re.IGNORECASE
    ):
        return IndexUnreachable
    if re.search(r"no usable wheels|no wheels with a matching|Wheels are required", problem):
        return NoFittingWheel
    if "No solution found" in problem:
        return UnresolvableRequirement
    return InvalidRequirement


def _told(problem: str) -> str:
    """The resolver's words in one line."""
    words = " ".join(problem.split())
    words = words.removeprefix("error: ").removeprefix("No solution found when resolving dependencies ")
    return words.removeprefix("cause: ").rstrip(".")


def fetch(files: Files, folder: Path) -> list[Path]:
    """Put the locked wheels into a folder. Without requirements there is no folder.

    They are kept in the user's cache by what the lock says, so an unchanged lock needs no network.

    Raises:
        StaleLock: the lock isn't of these requirements.
        NoFittingWheel, IndexUnreachable: they can't be had.
        MissingSystemLibrary, ReplacesImageLibrary, LibrariesTooLarge: they can't be carried.
    """
    wheels = [*fetched(files)]
    if not wheels:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(wheel, folder / wheel.name)) for wheel in wheels]


def fetched(files: Files) -> list[Path]:
    """Return the locked wheels, in the user's cache. See `fetch`."""
    files.require_lock()
    text = files.lock.read_text(encoding="utf-8") if files.lock.is_file() else ""
    if not _PINNED.search(text):
        return []
    hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
    place = _cache() / hashlib.sha256(text.encode()).hexdigest()
    wheels = sorted(place.glob("*.whl"))
    if len(wheels) != len(_PINNED.findall(text)) or any(_sha256(wheel) not in hashes for wheel in wheels):
        wheels = _download(files, place, hashes)
    check(wheels, files)
    return wheels


def _download(files: Files, place: Path, hashes: set[str]) -> list[Path]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=place.parent) as temporary:
        command = [
            *_uv(),
            "tool",
            "run",
            "--quiet",
            "--python",
            sys.executable,
            "--from",
            f"pip=={PIP}",
            "pip",
        ]
        command += [
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--dest",
            temporary,
        ]
        for tag in platforms():
            command += ["--platform", tag]
        command += [
            "--python-version",
            PYTHON_VERSION,
            "--implementation",
            "cp",
            "--requirement",
            str(files.lock),
        ]
        # Where packages are found stands in requirements.txt; the lock alone doesn't say.
        for _, line in files.lines():
            if line.startswith("-"):
                command += re.split(r"[ =]", line, maxsplit=1)
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=files.folder,
            env=_environment(os.environ),
        )
        if ended.returncode:
            words = " ".join(ended.stderr.split())[-2000:]
            kind = (
                IndexUnreachable
                if re.search(r"connection|resolve|timed out", words, re.IGNORECASE)
                else NoFittingWheel
            )
            raise kind(f"the wheels of requirements.lock can't be downloaded: {words}")
        loaded = sorted(Path(temporary).glob("*.whl"))
        strange = [wheel.name for wheel in loaded if _sha256(wheel) not in hashes]
        if strange:
            raise NoFittingWheel(f"{strange} have other bytes than requirements.lock says.")
        # One by one: another process may be putting the same ones there.
        place.mkdir(exist_ok=True)
        for wheel in loaded:
            wheel.replace(place / wheel.name)
    return [place / wheel.name for wheel in loaded]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for pip: it reads other variables for the index than uv does."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    extra = environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL")
    said = {"PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": extra and re.sub(r"(^|\s)[\w-]+=", r"\1", extra)}
    return {**{name: value for name, value in said.items() if value}, **environ}


def platforms() -> Iterator[str]:
    """Yield pip's names for all systems whose wheels run in the image, the newest first."""
    for minor in range(GLIBC[1], 4, -1):
        yield f"manylinux_{GLIBC[0]}_{minor}_x86_64"
    yield from ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64")


def check(wheels: Iterable[Path], files: Files) -> None:
    """Hold wheels to what a container and AdmitRun's layer take.

    Raises:
        LibrariesTooLarge, ReplacesImageLibrary, MissingSystemLibrary: what is in the way.
    """
    wheels = list(wheels)
    sizes = {wheel.name: wheel.stat().st_size for wheel in wheels}
    unpacked = dict.fromkeys(sizes, 0)
    image, provided = files.of_image(), files.system_libraries()
    wanted: dict[str, str] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            unpacked[wheel.name] = sum(member.file_size for member in archive.infolist())
            _refuse_modules(wheel.name, archive.namelist(), image)
            for name in filter(is_object, archive.namelist()):
                provided.add(name.rpartition("/")[2])
                dynamic = Dynamic.read(io.BytesIO(archive.read(name)))
                for library in () if dynamic is None else dynamic.needed:
                    wanted.setdefault(library, wheel.name)
    for kind, found, most in (("", sizes, MAXIMUM_BYTES), (" unpacked", unpacked, MAXIMUM_UNPACKED_BYTES)):
        if sum(found.values()) > most:
            largest = sorted(found.items(), key=lambda each: -each[1])[:5]
            listed = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in largest)
            raise LibrariesTooLarge(
                f"the wheels of requirements.lock take {sum(found.values()) / 1e6:.0f} MB{kind}, at most "
                f"{most / 1e6:.0f} are carried. The largest: {listed}. Leave some out, or use an image of "
                "your own (TrainingImageUri)."
            )
    missing = sorted(f"{wheel} needs {name}" for name, wheel in wanted.items() if name not in provided)
    if missing:
        raise MissingSystemLibrary(
            f"{'; '.join(missing)}: neither the image nor a wheel has it. Use an image of your own "
            "(TrainingImageUri). Where it is never loaded, or yours has it, add it to image.txt."
        )


def _refuse_modules(wheel: str, names: Iterable[str], image: Mapping[str, str]) -> None:
    distribution = wheel.partition("-")[0]
    if _normal(distribution) in image:
        raise ReplacesImageLibrary(f"{wheel}: the image has {distribution} itself.")
    ours = {path.stem for path in HERE.glob("*.py")}
    modules = {name.split("/")[0].partition(".")[0] for name in names}
    if taken := sorted(modules & (GUARDED | ours)):
        raise ReplacesImageLibrary(
            f"{wheel} holds {taken}, which are modules of the image or of the training code."
        )


def _glibc() -> str:
    return ".".join(map(str, GLIBC))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dropforge" / "wheels"


def _uv() -> list[str]:
    """The command for uv: that of this interpreter, or the one on PATH."""
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return [str(beside)]
    if shutil.which("uv") is None:
        raise IndexUnreachable("uv was not found; it resolves requirements.txt. Run 'make setup'.")
    return ["uv"]


def main(arguments: list[str]) -> int:
    """Lock or fetch. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--requirements", type=Path, default=HERE, metavar="DIR", help="the folder of requirements.txt"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("lock")
    verbs.add_parser("check")
    verbs.add_parser("fetch").add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    files = Files(given.requirements)
    try:
        if given.verb == "fetch":
            fetch(files, given.folder)
        elif given.verb == "check":
            files.require_lock()
        elif lock(files):
            print("Wrote training/requirements.lock; commit it.")
    except LibraryError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
