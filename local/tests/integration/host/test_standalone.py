"""The local host by itself, as somebody with another SAM application uses it: its example and its command."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import boto3
import pytest

from dropforge_local.command import main, stack_name_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "delivery_times"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example, so that its build cache is not in the repository."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "delivery_times"))


def test_the_example_is_deployed_learns_and_answers_over_http(example: Path) -> None:
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=example, capture_output=True, text=True, check=False, timeout=250
    )
    # The data say eight minutes, three more a kilometre and two more a parcel.
    assert (done.returncode, done.stdout) == (0, "10 km with 2 parcels: 42.0 minutes\n"), done.stderr


def test_the_command_deploys_says_how_to_reach_it_and_goes_on_where_it_was(example: Path) -> None:
    command = [sys.executable, "-m", "dropforge_local.command", str(example), "--port", "0"]
    buckets = []
    for ending in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = {}
            for line in process.stdout:
                if line.startswith("Ctrl-C stops the host"):
                    break
                if line.startswith("export "):
                    variables = dict(each.split("=", 1) for each in shlex.split(line)[1:])
                else:
                    name, _, value = line.strip().partition(": ")
                    said[name] = value
            assert said["ApiUrl"].startswith(variables["AWS_ENDPOINT_URL"])
            s3 = boto3.client(
                "s3",
                endpoint_url=variables["AWS_ENDPOINT_URL"],
                region_name=variables["AWS_REGION"],
                aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            )
            buckets += [
                each["Name"] for each in s3.list_buckets()["Buckets"] if each["Name"] == said["Bucket"]
            ]
            os.kill(process.pid, ending)
            assert process.wait(60) == 0
    assert len(buckets) == 2
    assert len(set(buckets)) == 1


def test_a_folder_that_cannot_be_deployed_ends_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = signal.getsignal(signal.SIGTERM)
    try:
        assert main([str(tmp_path), "--port", "0"]) == 1
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert "template.yaml" in capsys.readouterr().err


def test_a_stack_is_called_like_its_folder_in_letters_that_cloudformation_takes() -> None:
    assert [stack_name_of(each) for each in ("orders", "my_app 2", "2nd.try", "_")] == [
        "orders",
        "my-app-2",
        "app-2nd-try",
        "app",
    ]


def test_options_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--parameter", "Target"])
    assert "'Target' is not NAME=VALUE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"dropforge-local {version('dropforge-local')}\n"
