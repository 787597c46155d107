"""A new release of the prediction API takes over step by step, and is taken back where it breaks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dropforge_local.errors import DeployFailed
from tests.workflow.prediction_api import Api, HttpAnswer
from tests.workflow.stack import Stack
from tests.workflow.test_main_job import TEMPLATE, rows_of

# Below what the API lets a caller ask for in a second.
CALLER_PAUSE_S = 0.1
BROKEN = 'raise RuntimeError("what a release breaks")'


def _break_predictions(template: Path) -> Path:
    """A release whose predictions fail inside of the function, which answers them all the same."""
    path = template.parent / "core" / "dropforge" / "application" / "predict_http.py"
    source = path.read_text(encoding="utf-8")
    broken, count = re.subn(r"return service\(\)\.predict\(.*\)", BROKEN, source)
    assert count == 1
    path.write_text(broken, encoding="utf-8")
    return template


def _alias(stack: Stack) -> Mapping[str, Any]:
    name = stack.resources()["PredictFunction"]
    found: Mapping[str, Any] = stack.host.client("lambda").get_alias(FunctionName=name, Name="live")
    return found


def _called_throughout(api: Api, instance: Mapping[str, float], act: Callable[[], None]) -> list[HttpAnswer]:
    """The answers to predictions that are asked for while something is done."""
    answers: list[HttpAnswer] = []
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        while not done.done():
            answers.append(api.call("POST", "/predict", {"instance": dict(instance)}))
            time.sleep(CALLER_PAUSE_S)
        done.result()
    return answers


def test_a_broken_release_is_taken_back_and_a_good_one_takes_over(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path], product_copy: Path
) -> None:
    stack = deploy_sample("wine", PredictRollout="Canary10Percent5Minutes")
    stack.live_or_first(samples["wine"])
    instance = rows_of(samples["wine"], without=("cultivar", "id"))[0]
    api, before = Api(stack), _alias(stack)["FunctionVersion"]
    _break_predictions(product_copy)

    def release() -> None:
        with pytest.raises(DeployFailed, match="PredictReleaseAlarm"):
            stack.update(product_copy, Release="broken")

    answers = _called_throughout(api, instance, release)

    broken = [each.status for each in answers].count(500)
    assert 1 <= broken < len(answers) / 2, "a tenth of the calls met the new version"
    alias = _alias(stack)
    assert alias["FunctionVersion"] == before
    assert not alias.get("RoutingConfig")

    answers = _called_throughout(api, instance, lambda: stack.update(TEMPLATE, Release="good"))
    assert {each.status for each in answers} == {200}
    assert _alias(stack)["FunctionVersion"] != before
