"""The fault switch: what fails, how often, for how long."""

from __future__ import annotations

import pytest

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.faults import FaultSwitch


def test_fault_ends_after_its_number_of_calls() -> None:
    switch = FaultSwitch()
    switch.set("CreateModel", "ResourceLimitExceeded", times=2)
    for _ in range(2):
        with pytest.raises(ServiceError, match="ResourceLimitExceeded"):
            switch.check("CreateModel")
    assert switch.check("CreateModel") is None


def test_fault_ends_after_its_time() -> None:
    now = 100.0
    switch = FaultSwitch(now=lambda: now)
    switch.set("CreateModel", "InternalFailure", seconds=5)
    with pytest.raises(ServiceError) as caught:
        switch.check("CreateModel")
    assert caught.value.http_status == 500
    now = 105.0
    assert switch.check("CreateModel") is None
    assert switch.active() == {}


def test_other_operations_are_untouched() -> None:
    switch = FaultSwitch()
    switch.set("CreateModel", "ThrottlingException")
    assert switch.check("DeleteModel") is None


def test_delay_comes_before_the_answer() -> None:
    slept: list[float] = []
    switch = FaultSwitch(sleep=slept.append)
    switch.set("CreateModel", delay_s=1.5, times=1)
    assert switch.check("CreateModel") is None
    assert slept == [1.5]


def test_capacity_error_is_for_what_the_call_starts() -> None:
    switch = FaultSwitch()
    switch.set("CreateTrainingJob", "CapacityError", message="no machines")
    assert switch.check("CreateTrainingJob") == "no machines"
    with pytest.raises(ServiceError, match="fault of"):
        switch.set("CreateModel", "CapacityError")


def test_throttled_invocation_answers_429() -> None:
    switch = FaultSwitch()
    switch.set("InvokeEndpoint", "ThrottlingException")
    with pytest.raises(ServiceError) as caught:
        switch.check("InvokeEndpoint")
    assert caught.value.http_status == 429


@pytest.mark.parametrize(
    ("error", "options"),
    [("Nonsense", {}), (None, {}), ("InternalFailure", {"times": 0}), ("InternalFailure", {"seconds": -1})],
)
def test_meaningless_faults_are_refused(error: str | None, options: dict[str, float]) -> None:
    with pytest.raises(ServiceError):
        FaultSwitch().set("CreateModel", error, **options)  # type: ignore[arg-type]
