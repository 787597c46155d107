"""Builds a SAM template's code the way ``sam build`` does, without ``sam``, and remembers what it built.

What is built depends on the files alone, so every artifact is kept under the digest of its sources:
``<cache>/build/<digest>/`` holds ``artifact.zip`` and its SHA-256, and ``<cache>/unpacked/<sha256>/`` the
same files unzipped, which the host's Lambda workers import from.

The rules are those of aws-sam-cli 1.170.0 and aws-lambda-builders: which files a Python build copies, that
``make`` runs in a copy of the content folder with ``ARTIFACTS_DIR`` set, and that a Python layer's content
goes below ``python/``. A test compares the outcome with the real ``sam build``.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge_local.archive import MAX_UNZIPPED_BYTES, adopt, files_below, write_zip
from dropforge_local.errors import BuildFailed, InvalidTemplate
from dropforge_local.template import load_template, resource_property

PYTHON_RUNTIME = "python3.12"
# Raised when a rule below changes, so that artifacts of the old rules aren't taken from the cache.
_RULES = "1"
_UNUSED_FOR_S = 14 * 24 * 3600.0

# aws_lambda_builders/workflows/python_pip/workflow.py, EXCLUDED_FILES.
_PYTHON_EXCLUDED = (
    ".aws-sam",
    ".chalice",
    ".git",
    ".gitignore",
    "*.pyc",
    "__pycache__",
    "*.so",
    ".Python",
    "*.egg-info",
    "*.egg",
    "pip-log.txt",
    "pip-delete-this-directory.txt",
    "htmlcov",
    ".tox",
    ".nox",
    ".coverage",
    ".cache",
    ".pytest_cache",
    ".python-version",
    ".mypy_cache",
    ".dmypy.json",
    ".pyre",
    ".env",
    ".venv",
    "venv",
    "venv.bak",
    "env.bak",
    "ENV",
    "env",
    ".vscode",
    ".idea",
)
# aws_lambda_builders/workflows/custom_make/workflow.py, EXCLUDED_FILES.
_MAKE_EXCLUDED = (".aws-sam", ".git")
# Files that uv's installer adds to a package and that the wheel itself doesn't hold.
_INSTALLER_FILES = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})


@dataclass(frozen=True)
class Artifact:
    """One built archive: where it is, and the SHA-256 (hex) of its bytes."""

    logical_id: str
    path: Path
    sha256: str
    suffix: str

    @property
    def key(self) -> str:
        """The S3 key; it follows from the content, so an unchanged artifact is an unchanged template."""
        return f"{self.sha256}{self.suffix}"


@dataclass(frozen=True)
class BuiltTemplate:
    """A template and the artifacts that its resources name, by logical id and property."""

    template: Mapping[str, Any]
    artifacts: Mapping[tuple[str, str], Artifact]

    def packaged(self, bucket: str) -> dict[str, Any]:
        """The template with each local path replaced by its S3 location, as ``sam package`` writes it."""
        packaged: dict[str, Any] = json.loads(json.dumps(self.template))
        for (logical_id, name), artifact in self.artifacts.items():
            properties = packaged["Resources"][logical_id].setdefault("Properties", {})
            if name == "DefinitionS3Location":  # CloudFormation's own property, which takes no URI
                properties[name] = {"Bucket": bucket, "Key": artifact.key}
            else:
                properties[name] = f"s3://{bucket}/{artifact.key}"
        return packaged


class Builder:
    """Builds the artifacts of one template into a cache folder that many processes may share."""

    def __init__(self, template: Path, cache: Path) -> None:
        self._path = template
        self._root = template.resolve().parent
        self._cache = cache
        self.unpacked = cache / "unpacked"

    def build(self) -> BuiltTemplate:
        """Build whatever changed.

        Raises:
            InvalidTemplate: a path is missing, or a resource asks for a build that is not supported here.
            BuildFailed: ``make`` or the installation of requirements failed, or a layer is too large.
        """
        template = load_template(self._path)
        artifacts: dict[tuple[str, str], Artifact] = {}
        for logical_id, resource in template["Resources"].items():
            match resource.get("Type"):
                case "AWS::Serverless::Function":
                    artifact = self._function(template, logical_id)
                    name = "CodeUri"
                case "AWS::Serverless::LayerVersion":
                    artifact = self._layer(template, logical_id)
                    name = "ContentUri"
                case "AWS::Serverless::StateMachine":
                    name = "DefinitionUri"
                    artifact = self._definition(template, logical_id, name)
                case "AWS::StepFunctions::StateMachine":
                    name = "DefinitionS3Location"
                    artifact = self._definition(template, logical_id, name)
                case _:
                    continue
            if artifact is not None:
                artifacts[logical_id, name] = artifact
        self._forget_unused()
        return BuiltTemplate(template, artifacts)

    # --- one resource --------------------------------------------------------------------------------

    def _function(self, template: Mapping[str, Any], logical_id: str) -> Artifact | None:
        if resource_property(template, logical_id, "PackageType") == "Image":
            raise InvalidTemplate(f"{logical_id}: PackageType Image is not supported; use a Zip function.")
        if resource_property(template, logical_id, "InlineCode") is not None:
            return None
        source = self._local_path(template, logical_id, "CodeUri")
        if source is None:
            return None
        runtime = resource_property(template, logical_id, "Runtime")
        if runtime != PYTHON_RUNTIME:
            raise InvalidTemplate(
                f"{logical_id}: Runtime {runtime!r} is not supported; use {PYTHON_RUNTIME}."
            )
        match _metadata(template, logical_id).get("BuildMethod"):
            case None | "python3.12":
                return self._python(logical_id, source, subfolder="")
            case "makefile":
                return self._make(logical_id, source)
            case other:
                raise InvalidTemplate(f"{logical_id}: Metadata.BuildMethod {other!r} is not supported.")

    def _layer(self, template: Mapping[str, Any], logical_id: str) -> Artifact | None:
        source = self._local_path(template, logical_id, "ContentUri")
        if source is None:
            return None
        metadata = _metadata(template, logical_id)
        for name in ("ProjectRootDirectory", "ContextPath", "WorkingDirectory"):
            if name in metadata:
                raise InvalidTemplate(f"{logical_id}: Metadata.{name} is not supported.")
        match metadata.get("BuildMethod"):
            case None:
                return self._cached(logical_id, "as-is", source, (), lambda out: _copy(source, out, ()))
            case "python3.12":
                return self._python(logical_id, source, subfolder="python")
            case "makefile":
                return self._make(logical_id, source)
            case other:
                raise InvalidTemplate(f"{logical_id}: Metadata.BuildMethod {other!r} is not supported.")

    def _definition(self, template: Mapping[str, Any], logical_id: str, name: str) -> Artifact | None:
        path = self._local_path(template, logical_id, name, folder=False)
        if path is None:
            return None
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Artifact(logical_id, path, digest, ".asl.json")

    def _local_path(
        self, template: Mapping[str, Any], logical_id: str, name: str, *, folder: bool = True
    ) -> Path | None:
        value = resource_property(template, logical_id, name)
        if not isinstance(value, str) or value.startswith("s3://"):
            return None
        path = (self._root / value).resolve()
        if not (path.is_dir() if folder else path.is_file()):
            kind = "folder" if folder else "file"
            raise InvalidTemplate(f"{logical_id}: {name} {value!r} is no {kind} below {self._root}.")
        return path

    # --- the build methods ---------------------------------------------------------------------------

    def _python(self, logical_id: str, source: Path, subfolder: str) -> Artifact:
        def build(out: Path) -> None:
            target = out / subfolder
            requirements = source / "requirements.txt"
            if requirements.is_file():
                _install(logical_id, requirements, target)
            _copy(source, target, _PYTHON_EXCLUDED)

        return self._cached(logical_id, f"python:{subfolder}", source, _PYTHON_EXCLUDED, build)

    def _make(self, logical_id: str, source: Path) -> Artifact:
        makefile = source / "Makefile"
        if not makefile.is_file():
            raise InvalidTemplate(f"{logical_id}: BuildMethod makefile needs {makefile}.")

        def build(out: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="dropforge-make-") as scratch:
                _copy(source, Path(scratch), _MAKE_EXCLUDED)
                command = ["make", "--makefile", str(makefile), f"build-{logical_id}"]
                _run(logical_id, command, cwd=Path(scratch), environment={"ARTIFACTS_DIR": str(out)})

        excluded = (*_MAKE_EXCLUDED, "__pycache__", "*.pyc")
        return self._cached(logical_id, f"make:{logical_id}", source, excluded, build)

    # --- the cache -----------------------------------------------------------------------------------

    def _cached(
        self,
        logical_id: str,
        method: str,
        source: Path,
        ignored: tuple[str, ...],
        build: Callable[[Path], None],
    ) -> Artifact:
        folder = self._cache / "build" / _digest(method, source, ignored)
        archive, digest = folder / "artifact.zip", folder / "sha256"

        def is_built() -> bool:
            return digest.is_file() and (self.unpacked / digest.read_text()).is_dir()

        if not is_built():
            with self._only_builder():
                if not is_built():
                    self._build_into(logical_id, folder, build)
        os.utime(folder)
        return Artifact(logical_id, archive, digest.read_text(), ".zip")

    @contextmanager
    def _only_builder(self) -> Iterator[None]:
        """Wait for other processes' builds: those that start together would each build the same layers."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / ".building").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _build_into(self, logical_id: str, folder: Path, build: Callable[[Path], None]) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.unpacked.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as name:
            scratch, content = Path(name), Path(name) / "content"
            content.mkdir()
            build(content)
            size = sum(path.stat().st_size for path in files_below(content))
            if size > MAX_UNZIPPED_BYTES:
                raise BuildFailed(
                    f"{logical_id}: {size} bytes unzipped; Lambda takes {MAX_UNZIPPED_BYTES} with all layers."
                )
            built = scratch / "built"
            built.mkdir()
            sha256 = write_zip(content, built / "artifact.zip")
            (built / "sha256").write_text(sha256)
            adopt(content, self.unpacked / sha256)
            known = folder / "sha256"
            if known.is_file() and known.read_text() != sha256:
                # Its unpacked files had been removed, and a build need not give the same bytes twice.
                shutil.rmtree(folder)
            adopt(built, folder)

    def _forget_unused(self) -> None:
        """Remove artifacts that no build asked for lately, with their unpacked files."""
        before = time.time() - _UNUSED_FOR_S
        kept = set()
        for folder in (self._cache / "build").glob("[!.]*"):
            digest = folder / "sha256"
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
            elif digest.is_file():
                kept.add(digest.read_text())
        for folder in self.unpacked.glob("[!.]*"):
            if folder.name not in kept and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def _metadata(template: Mapping[str, Any], logical_id: str) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = template["Resources"][logical_id].get("Metadata") or {}
    return metadata


def _ignored(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _sources(folder: Path, ignored: tuple[str, ...]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if _ignored(entry.name, ignored):
            continue
        if entry.is_dir():
            yield from _sources(entry, ignored)
        else:
            yield entry


def _digest(method: str, folder: Path, ignored: tuple[str, ...]) -> str:
    digest = hashlib.sha256(f"{_RULES}\0{PYTHON_RUNTIME}\0{method}\0".encode())
    for path in _sources(folder, ignored):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(folder).as_posix()}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()


def _copy(source: Path, target: Path, excluded: tuple[str, ...]) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*excluded))


def _install(logical_id: str, requirements: Path, target: Path) -> None:
    """Install wheels for Lambda's platform (x86_64, glibc 2.34) as ``sam build`` unpacks them."""
    target.mkdir(parents=True, exist_ok=True)
    command = [*_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target)]
    command += ["--python-platform", "x86_64-manylinux_2_34", "--python-version", "3.12"]
    command += ["--only-binary", ":all:", "--link-mode", "copy", "--requirements", str(requirements)]
    _run(logical_id, command, cwd=requirements.parent, environment={})
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    for path in target.glob("*.dist-info/*"):
        if path.name in _INSTALLER_FILES:
            path.unlink()


def _uv() -> list[str]:
    """The command for uv: the one on PATH, or the module of an interpreter that has it."""
    for command in (["uv"], [sys.executable, "-m", "uv"], ["python3", "-m", "uv"]):
        if shutil.which(command[0]) is None:
            continue
        probe = subprocess.run([*command, "--version"], capture_output=True, check=False)
        if probe.returncode == 0:
            return command
    raise BuildFailed(
        "uv was not found: install it (https://docs.astral.sh/uv/) so that requirements can be built."
    )


def _run(logical_id: str, command: list[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
    # A python3.12 on PATH may be a version manager's shim that only works where that version is selected.
    interpreter = str(Path(getattr(sys, "_base_executable", sys.executable)).parent)
    # The project's uv lies beside its python, wherever the command was started from.
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([interpreter, beside, os.environ.get("PATH", os.defpath)])
    ended = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        output = f"{ended.stdout}\n{ended.stderr}".strip()[-4000:]
        raise BuildFailed(f"{logical_id}: {' '.join(command[:3])} … ended with {ended.returncode}:\n{output}")
