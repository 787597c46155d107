"""Commands in README and docs exist, with their options; links lead somewhere; the quick start is short."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import botocore.session
import numpy as np
import pytest
from botocore import xform_name
from scripts.deploy_parameters import merged
from tests.command_line import invoke
from tests.documented import AWS, EXAMPLE, HOST, LONG, ROOT, Block

from dropforge.domain.contract import Column, Contract
from dropforge_local.template import load_template
from dropforge_ops.errors import ExitCode
from tests import documented

PARSED = [each for mark in (HOST, AWS, EXAMPLE, LONG, "") for each in documented.commands_of(mark)]
# Programs of others, which are only named.
OTHERS = {"awk", "cp", "curl", "git", "head", "mlflow", "pytest", "python", "source"}
PARAMETERS = load_template(ROOT / "template.yaml")["Parameters"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# https://docs.aws.amazon.com/cli/latest/reference/#global-options
GLOBAL_OPTIONS = {"--output", "--profile", "--query", "--region"}
S3_COMMANDS = {"cp", "ls", "sync"}
MOST_STEPS = 6


def test_every_block_names_its_language_and_every_command_how_it_can_be_tried() -> None:
    for block in documented.blocks():
        assert block.language in documented.LANGUAGES, f"{block}: {block.info!r}"
        if block.language == "sh":
            assert block.mark in documented.MARKS, f"{block}: {block.mark!r}"
    assert len(PARSED) > 20


@pytest.mark.parametrize("block", PARSED, ids=str)
def test_every_command_exists_with_its_options(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropforge_ops.cli.invocation.call", lambda *_, **__: ExitCode.OK)
    for words in block.commands:
        assignment = re.fullmatch(r"\w+=\S*", words[0])
        program, arguments = Path(words[0]).name, words[1:]
        if program == "dropforge":
            done = invoke(arguments)
            assert done.exit_code == 0, f"{block}: {' '.join(words)}: {done.stderr}"
        elif program == "make":
            check_make(arguments)
        elif program == "aws":
            check_aws(arguments)
        else:
            assert assignment or program in OTHERS, f"{block}: {words[0]}"


@pytest.mark.parametrize(("command", "page"), documented.named_commands().items())
def test_every_command_that_the_text_names_exists_with_its_options(
    command: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropforge_ops.cli.invocation.call", lambda *_, **__: ExitCode.OK)
    program, *arguments = shlex.split(command.replace("…", ""))
    if program == "make":
        check_make(arguments)
    elif arguments != ["COMMAND"]:
        done = invoke(arguments)
        assert done.exit_code == 0 or "Missing argument" in done.stderr, f"{page}: {command}: {done.stderr}"


def check_make(arguments: list[str]) -> None:
    target, *variables = arguments
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    given = dict(each.split("=", 1) for each in variables)
    for name in given:
        assert f"$({name})" in MAKEFILE, name
    if target == "deploy":
        parameters = merged(given.get("ENV", "default"), shlex.split(given.get("PARAMETERS", "")))
        for each in parameters:
            check_parameter(*each.split("=", 1))


def check_parameter(name: str, value: str) -> None:
    declared = PARAMETERS[name]
    assert value in map(str, declared.get("AllowedValues", [value]))
    assert re.fullmatch(str(declared.get("AllowedPattern", ".*")), value), (name, value)


def check_aws(arguments: list[str]) -> None:
    service, operation, *options = arguments
    if service == "s3":
        assert operation in S3_COMMANDS
        return
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(each, "-"): each for each in model.operation_names}
    shape: Any = model.operation_model(names[operation]).input_shape
    known = {f"--{xform_name(each, '-')}" for each in shape.members}
    assert {each for each in options if each.startswith("--")} <= known | GLOBAL_OPTIONS


def test_links_between_pages_lead_somewhere() -> None:
    reference = sorted((ROOT / "docs" / "reference").glob("*.md"))
    for page in [*documented.pages(), *reference]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in target:
                continue
            place, _, anchor = target.partition("#")
            found = (page.parent / place).resolve() if place else page
            assert found.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(found), f"{page.name}: {target}"


def test_a_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {page.name[:4]} "), page.name


def test_every_page_is_found_from_the_readme() -> None:
    found = {ROOT / "README.md"}
    waiting = [*found]
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            if linked.suffix == ".md" and linked.exists() and linked not in found:
                found.add(linked)
                waiting.append(linked)
    written = {page.resolve() for page in documented.pages()}
    assert written - found == set()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_the_first_command_to_a_prediction_in_the_browser_takes_no_more_steps_than_promised() -> None:
    text = (ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")
    steps = re.findall(r"^(\d+)\. ", text.partition("\n## ")[0], flags=re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 0 < len(steps) <= MOST_STEPS
    assert "edit" not in text.partition("\n## ")[0].replace("no file is edited", "")


def test_models_in_the_docs_can_be_trained() -> None:
    contract = Contract(
        "sick", None, "binary", ("no", "yes"), (Column("age", "number"), Column("sick", "category", "target"))
    )
    found = [each for each in documented.blocks() if each.info == "python model"]
    assert found
    for block in found:
        space: dict[str, Any] = {}
        exec(block.text, space)  # noqa: S102 - our own docs
        model = space["build_model"](contract, {"seed": 1, "metric": "auc"})
        fitted = model.fit(np.array([[1.0], [2.0], [np.nan], [4.0]]), np.array([0, 0, 1, 1]))
        assert fitted.predict_proba(np.array([[1.0]])).shape == (1, 2)


def test_json_in_the_docs_is_json() -> None:
    for block in documented.blocks():
        if block.language == "json":
            json.loads(block.text)
