"""MiniStack is the pinned version and still has everything that the glue builds on.

Each seam checks its own names when it is installed; here the whole glue is installed in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from dropforge_local.errors import SeamChanged
from dropforge_local.glue.seams import require, require_parameters
from dropforge_local.settings import HostSettings


def _settings(folder: Path) -> HostSettings:
    return HostSettings(
        state_dir=folder / "state",
        unpacked_dir=folder / "unpacked",
        port=4566,
        listener_fd=0,
        lifeline_fd=0,
        wait_scale=1.0,
        auth=False,
        region="us-east-1",
        account_id="000000000000",
    )


_SEAMS = [
    "services.lambda_svc._execute_function_warm",
    "services.lambda_svc._resolve_layer_zip",
    "core.lambda_runtime.acquire_worker",
    "services.lambda_svc._route_async_failure",
    "services.cloudwatch._dispatch_alarm_actions",
    "services.cloudwatch._metric_bucket",
    "services.lambda_svc._emit_lambda_logs",
    "services.apigateway_v1._handle_execute_in_scope",
    "services.scheduler._at_time_epoch",
    "services.s3._parse_range",
    "core.responses._service_model",
    "core.responses._BOTOCORE_NAME",
    "core.router.SERVICE_PATTERNS",
    "services.cloudformation._stacks",
    "services.stepfunctions._apply_catcher",
    "services.stepfunctions._run_sub_machine",
    "services.dynamodb._transact_write_items",
    "services.dynamodb._condition_syntax_error",
    "services.apigateway_v1._put_gateway_response",
    "services.apigateway_v1._import_operation",
    "services.apigateway_v1._resolve_api_key",
    "services.waf._associate_web_acl",
    "app._build_persistence_save_dict",
    "core.persistence._json_default",
]
# MiniStack and the glue are loaded once; each installation has a fork of that to itself.
_INSTALL = """
import importlib, json, os, pkgutil, sys
from dropforge_local import glue
from dropforge_local.errors import SeamChanged
from dropforge_local.glue import install
from dropforge_local.settings import HostSettings
import ministack.app, ministack.services.cloudformation
for module in pkgutil.walk_packages(glue.__path__, "dropforge_local.glue."):
    importlib.import_module(module.name)

def installed_without(seam):
    module, _, name = seam.rpartition(".")
    if seam:
        delattr(importlib.import_module("ministack." + module), name)
    try:
        install(HostSettings.from_json(sys.argv[1]))
    except (SeamChanged, AttributeError) as error:
        return f"{type(error).__name__} {error}"
    return "installed"

said = {}
for seam in sys.argv[2:]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, installed_without(seam).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        said[seam] = answer.read()
    os.wait()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What installing says, by the name that MiniStack lacks."""
    settings = _settings(tmp_path_factory.mktemp("host"))
    ended = subprocess.run(
        [sys.executable, "-c", _INSTALL, settings.to_json(), "", *_SEAMS],
        env=settings.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers: dict[str, str] = json.loads(ended.stdout.splitlines()[-1])
    return answers


def test_installs_on_the_pinned_version(said: dict[str, str]) -> None:
    assert said[""] == "installed"


@pytest.mark.parametrize("removed", _SEAMS)
def test_says_what_is_missing_on_another_version(said: dict[str, str], removed: str) -> None:
    error, _, words = said[removed].partition(" ")
    assert error in ("SeamChanged", "AttributeError")
    assert removed.rpartition(".")[2] in words


def test_a_changed_signature_is_a_changed_seam() -> None:
    module = types.ModuleType("ministack.thing")
    with pytest.raises(SeamChanged, match=r"ministack\.thing .*no gone"):
        require(module, "gone")
    with pytest.raises(SeamChanged, match=r"not \['a', 'b'\]"):
        require_parameters(lambda b, a: None, "a", "b")
