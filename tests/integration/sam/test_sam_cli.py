"""The real aws-sam-cli on the real template: build it, deploy it to the local host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workflow.stack import wait_for

from dropforge_local.template import load_template
from dropforge_local.testing.forked_host import ForkedHost

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("core", "layers", "functions", "training", "statemachine", "template.yaml", "samconfig.toml")
TOOL = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", "aws-sam-cli==1.170.0", "python"]


def run_sam(sam: Path, folder: Path, *arguments: str, **environment: str) -> str:
    """Run sam in a folder, without anybody's credentials, and return what it printed."""
    # sam leaves a folder behind for each archive that it uploads.
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sam, *arguments],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            # sam looks for a python3.12 that runs, and the layers' makefiles for uv.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "us-east-1",
            "TMPDIR": str(temporary),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def sam() -> Path:
    """Asked for once: uv looks at each start whether all that a tool needs is there, which takes a second."""
    asked = subprocess.run(
        [*TOOL, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        pytest.skip("aws-sam-cli can't be installed here: no package index is reachable")
    return Path(asked.stdout.strip()) / "bin" / "sam"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, sam: Path) -> Path:
    """A copy of the product in which sam has built the template."""
    folder = tmp_path_factory.mktemp("sam")
    for name in PRODUCT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    assert "Build Succeeded" in run_sam(sam, folder, "build")
    return folder


def test_sam_builds_the_template(built: Path) -> None:
    assert (built / ".aws-sam" / "build" / "template.yaml").is_file()
    functions = sorted(path.parent.name for path in (built / "functions").glob("*/app.py"))
    assert len(list((built / ".aws-sam" / "build").glob("*Function/app.py"))) == len(functions)


def test_nothing_that_cloudformation_refuses_is_left_of_aliases_and_merges(built: Path) -> None:
    sent = built / ".aws-sam" / "build" / "template.yaml"
    tokens = list(yaml.scan(sent.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    assert not [each for each in tokens if isinstance(each, yaml.AliasToken | yaml.AnchorToken)]
    assert "<<" not in [each.value for each in tokens if isinstance(each, yaml.ScalarToken)]
    assert but_for_paths(sent) == but_for_paths(ROOT / "template.yaml")


def but_for_paths(template: Path) -> Any:
    """The resources, without what sam build puts in for what it built."""
    resources = load_template(template)["Resources"]
    for each in resources.values():
        each.pop("Metadata", None)
        for path in ("CodeUri", "ContentUri", "DefinitionS3Location"):
            each.get("Properties", {}).pop(path, None)
    return resources


def test_sam_deploys_the_whole_template_to_the_local_host(sam: Path, built: Path) -> None:
    with ForkedHost(built) as host:
        run_sam(
            sam,
            built,
            "deploy",
            "--no-confirm-changeset",
            "--parameter-overrides",
            "TargetColumn=cultivar ModelName=by-sam",
            AWS_ENDPOINT_URL=host.endpoint_url,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        )
        stack = host.client("cloudformation").describe_stacks(StackName="dropforge")["Stacks"][0]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        assert outputs["ModelName"] == "by-sam"

        states = host.client("stepfunctions")
        started = states.start_execution(
            stateMachineArn=outputs["TrainingStateMachine"], input=json.dumps({"trigger": "schedule"})
        )

        def ended() -> Mapping[str, Any] | None:
            described = states.describe_execution(executionArn=started["executionArn"])
            return described if described["status"] != "RUNNING" else None

        execution = wait_for("end of the execution", ended)
        assert execution["status"] == "SUCCEEDED", execution
        assert json.loads(execution["output"])["admission"]["outcome"] == "nothing-new"
