"""Checks of this machine: Python, uv, the local host's containers, Docker, SAM."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dropforge_ops.health.findings import Check, Finding, Status

PYTHON = (3, 12)
_TIMEOUT_S = 20.0


def checks(root: Path | None) -> list[Check]:
    """The checks; ``root`` is the project's folder, None outside of one."""
    return [
        Check("python", _python),
        Check("uv", _uv),
        Check("containers", _containers),
        Check("docker", _docker),
        Check("sam", lambda: _sam(root)),
    ]


def said_by(command: Sequence[str]) -> str | None:
    """What a program writes to stdout; None where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        return Finding("python", Status.OK, f"{version}, {sys.executable}")
    wanted = ".".join(map(str, PYTHON))
    return Finding(
        "python",
        Status.FAIL,
        f"{version}; functions, training and the local host run {wanted}",
        f"Install Python {wanted} ('uv python install {wanted}'), then 'make setup'.",
    )


def _uv() -> Finding:
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    version = said_by([program, "--version"]) if program else None
    if version:
        return Finding("uv", Status.OK, version)
    return Finding("uv", Status.WARN, "not found; 'make build' and 'make lock' need it", "Run 'make setup'.")


def _containers() -> Finding:
    from dropforge_local.sagemaker.container import has_namespaces  # noqa: PLC0415 - the local host's

    if sys.platform != "linux":
        return Finding(
            "containers", Status.SKIP, "the local host runs on Linux only; stacks on AWS need none"
        )
    if has_namespaces(sys.executable):
        return Finding(
            "containers", Status.OK, "the local host's jobs and models have an /opt/ml of their own"
        )
    return Finding(
        "containers",
        Status.OK,
        "the kernel refuses user namespaces: scripts on the local host find /opt/ml under ML_ROOT",
    )


def _docker() -> Finding:
    version = said_by(["docker", "version", "--format", "{{.Server.Version}}"])
    if version:
        return Finding("docker", Status.OK, f"server {version}")
    return Finding(
        "docker",
        Status.SKIP,
        "no Docker answers; only 'make sam-local' needs one",
        "Start Docker, or install it, to run functions in Lambda's own image.",
    )


def _sam(root: Path | None) -> Finding:
    if root is None:
        return Finding("sam", Status.SKIP, "not in the project's folder, which names SAM's version")
    named = re.search(
        r"^SAM_VERSION := (\S+)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    if named is None:
        return Finding("sam", Status.WARN, "the Makefile names no SAM_VERSION", "Restore the Makefile.")
    program = [
        "uv",
        "tool",
        "run",
        "--offline",
        "--quiet",
        "--from",
        f"aws-sam-cli=={named[1]}",
        "sam",
        "--version",
    ]
    beside = Path(sys.executable).with_name("uv")
    said = said_by([str(beside) if beside.exists() else "uv", *program[1:]])
    if said:
        return Finding("sam", Status.OK, said)
    return Finding(
        "sam",
        Status.OK,
        f"SAM CLI {named[1]} is not fetched yet; the first 'make build' does that",
    )
