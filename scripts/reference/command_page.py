"""``docs/reference/cli.md``: every command, its options and its JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from scripts.reference.markdown import cell, code, table
from typer.main import get_command

from dropforge.domain.records import ModelVersion, Run
from dropforge_ops.cli.json_documents import DOCUMENTS, ERROR
from dropforge_ops.cli.main import app
from dropforge_ops.errors import ExitCode

_COMMON = ("--json", "--stack", "--profile", "--region", "--endpoint-url", "--debug")
_HIDDEN = frozenset({"help", "install_completion", "show_completion"})


def page(root: Path) -> str:
    """The page."""
    commands = list(_commands(get_command(app)))
    common = [each for each in commands[0][1].params if _flag(each) in _COMMON]
    parts = [
        "# Command line",
        "`dropforge COMMAND --help` shows the same. Results go to stdout, everything that is said on the way "
        "to stderr. A command finds the local host that runs for the current folder, or for one above it, by "
        "itself; `--profile`, `--region`, `--endpoint-url`, `AWS_PROFILE` or `AWS_ENDPOINT_URL` lead "
        "elsewhere.",
        "## Exit codes",
        table(["code", "meaning"], [[each.value, each.meaning] for each in ExitCode]),
        "## Options of every command",
        _options(common),
        "## Version",
        "`dropforge --version` prints `dropforge` and the version, as `CHANGELOG.md` numbers them.",
        "## Completion",
        "`dropforge --install-completion` sets up the shell that runs it (bash, zsh, fish, PowerShell); "
        "`dropforge --show-completion` prints what that would install.",
        "## JSON",
        "With `--json` stdout holds one document. Members are only ever added. A command that fails writes "
        "`error` and what else is known; what the parser refuses (an unknown option, a missing argument) is "
        "said on stderr only.",
        table(["member of `error`", "meaning"], [[code(name), said] for name, said in ERROR.items()]),
        "A run's record: " + ", ".join(code(each.name) for each in fields(Run)) + ".",
        "A version's record: "
        + ", ".join(code(each.name) for each in fields(ModelVersion) if each.name != "task_token")
        + ".",
    ]
    for path, each in commands:
        parts += _section(path, each)
    return "\n\n".join(parts)


def _commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in sorted(group.commands):
        each = group.commands[name]
        if hasattr(each, "commands"):
            yield from _commands(each, f"{path}{name} ")
        else:
            yield f"{path}{name}", each


def _section(path: str, each: Any) -> list[str]:
    own = [p for p in each.params if _flag(p) not in _COMMON and p.name not in _HIDDEN]
    arguments = [p for p in own if p.param_type_name == "argument"]
    usage = " ".join(["dropforge", path, *(_metavar(p) for p in arguments), "[OPTIONS]"])
    parts = [f"## {path}", " ".join((each.help or "").split()), f"```text\n{usage}\n```"]
    if arguments:
        rows = [[code(_metavar(p)), p.help or ""] for p in arguments]
        parts.append(table(["argument", "meaning"], rows))
    options = [p for p in own if p.param_type_name == "option"]
    if options:
        parts.append(_options(options))
    for document in (name for name in DOCUMENTS if name == path or name.startswith(f"{path} ")):
        if document != path and document in {name for name, _ in _commands(get_command(app))}:
            continue
        said = "JSON" if document == path else f"JSON of `{document}`"
        rows = [
            [_member(name), f"{meaning} (not always there)" if name.endswith("?") else meaning]
            for name, meaning in DOCUMENTS[document].items()
        ]
        parts.append(table([said, "meaning"], rows))
    return parts


def _member(name: str) -> str:
    return name if name == "…" else code(name.rstrip("?"))


def _options(options: list[Any]) -> str:
    rows = []
    for each in options:
        names = ", ".join(code(name) for name in (*each.opts, *each.secondary_opts))
        value = "" if each.is_flag else f" {each.metavar or each.name.upper()}"
        default = (
            "" if each.default in (None, False, (), []) or callable(each.default) else code(each.default)
        )
        rows.append([names + value, cell(each.help or ""), default])
    return table(["option", "meaning", "default"], rows)


def _flag(parameter: Any) -> str:
    return str(parameter.opts[0]) if parameter.param_type_name == "option" else ""


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())
