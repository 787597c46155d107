"""Everything around the use cases, in memory: what happens between their calls, and their crashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.ledger import FakeLedger
from tests.fakes.predictions import REGRESSION, FakePredictionLog
from tests.fakes.records import (
    BATCH,
    BUCKET,
    DEPLOYMENT,
    ENDPOINT,
    GROUP,
    TRAINING,
    a_drop,
    at,
    execution,
    s3_event,
)
from tests.fakes.services import (
    Execution,
    FakeEndpoints,
    FakeJobs,
    FakeRegistry,
    FakeScaling,
    FakeWorkflows,
)
from tests.in_memory_store import InMemoryObjectStore

from dropforge.application.admit_run import Admission, AdmissionDesk, AdmitPolicy
from dropforge.application.answer_alarm import AlarmPolicy
from dropforge.application.await_decision import check_approval, request_approval
from dropforge.application.close_run import Ending, close_run
from dropforge.application.decide import DecisionDesk
from dropforge.application.deploy import (
    Plan,
    plan_deployment,
    promote_model,
    retire_models,
    settle_deployment,
    smoke_test,
)
from dropforge.application.reconcile import Repairs, reconcile
from dropforge.application.register_model import Registration, ServingImage, register_model
from dropforge.domain.records import Live, RunStatus
from dropforge.domain.services import EndpointMode
from dropforge.domain.training_code import TrainingCode
from dropforge.domain.triggers import Drop
from dropforge.pricing.run import CostCap

LEASE_S = 3600
CODE = TrainingCode({"train.py": b"train", "model.py": b"model", "dropforge/domain/errors.py": b"errors"})
CONTRACT = REGRESSION.to_json().encode()
IMAGE = ServingImage("123456789012.dkr.ecr.us-east-1.amazonaws.com/scikit-learn:1", "us-east-1")
_T0, _T10, _T20, _T30, _T40, _T50, _T60, _T70 = (at(seconds) for seconds in (0, 10, 20, 30, 40, 50, 60, 70))
_PORTS = ("ledger", "store", "workflows", "registry", "endpoints", "scaling", "jobs")


class Crash(Exception):
    """The function was killed."""


@dataclass
class World:
    """One model's ledger, bucket, executions, packages and endpoints, and the use cases on them."""

    ledger: Any = field(default_factory=FakeLedger)
    store: Any = field(default_factory=InMemoryObjectStore)
    workflows: Any = field(default_factory=FakeWorkflows)
    registry: Any = field(default_factory=FakeRegistry)
    endpoints: Any = field(default_factory=FakeEndpoints)
    scaling: Any = field(default_factory=FakeScaling)
    jobs: Any = field(default_factory=FakeJobs)
    mode: EndpointMode = "serverless"
    most_instances: int = 1
    log: Any = field(default_factory=FakePredictionLog)
    training_data: str = "new-drops"
    window_days: int = 0
    labelled_predictions: bool = True
    alarms: AlarmPolicy = field(default_factory=AlarmPolicy)
    cost: CostCap = field(default_factory=CostCap)
    hyperparameters: str = "{}"
    code: TrainingCode = CODE
    source_commit: str | None = None

    def snapshot(self) -> dict[str, Any]:
        ports = {name: getattr(self, name).snapshot() for name in _PORTS if name != "store"}
        return {**ports, "store": dict(self.store.objects)}

    # --- executions -----------------------------------------------------------------------------

    def running(self, name: str, machine: str = TRAINING) -> str:
        """An execution that was started by an event, not by dropforge."""
        arn = execution(name, machine)
        self.workflows.executions.setdefault(arn, Execution(machine, name, {}))
        return arn

    def end(self, arn: str) -> None:
        self.workflows.executions[arn].is_running = False

    # --- the use cases, as the handlers call them -----------------------------------------------

    def admit(
        self, event: dict[str, Any] | Drop, execution_arn: str | None = None, now: datetime = _T0
    ) -> Admission:
        if isinstance(event, Drop):
            execution_arn = execution_arn or self.running(f"drop-{event.drop_id[:8]}")
            event = s3_event(event)
        desk = AdmissionDesk(
            ledger=self.ledger,
            store=self.store,
            code=self.code,
            log=self.log,
            workflows=self.workflows,
            training_machine_arn=TRAINING,
            deployment_machine_arn=DEPLOYMENT,
            policy=AdmitPolicy(
                data_bucket=BUCKET,
                lease_s=LEASE_S,
                training_data=self.training_data,
                window_days=self.window_days,
                labelled_predictions=self.labelled_predictions,
                alarms=self.alarms,
                cost=self.cost,
                hyperparameters=self.hyperparameters,
                source_commit=self.source_commit,
            ),
        )
        return desk.admit(
            event, execution_arn=execution_arn or self.running(f"x-{event.get('trigger')}"), now=now
        )

    def register(self, admission: Admission, now: datetime = _T10, **verdict: Any) -> Registration:
        assert admission.run is not None
        run, folder = admission.run, f"s3://{BUCKET}/models/{admission.run.run_id}"
        archive = f"{folder}/job/output/model.tar.gz"
        judgement = json.dumps({"run_id": run.run_id}).encode()
        model = f"archive of {run.run_id}".encode()
        smoke = {"instances": [{"a": 1}], "predictions": [{"value": 1.0}]}
        self.store.objects[f"{folder}/judgement.json"] = judgement
        self.store.objects[f"{folder}/smoke.json"] = json.dumps(smoke).encode()
        self.store.objects[archive] = model
        self.store.objects[f"s3://{BUCKET}/runs/{run.run_id}/contract/schema.json"] = CONTRACT
        return register_model(
            run_id=run.run_id,
            token=run.token,
            execution_arn=run.execution_arn,
            code_sha256=CODE.sha256,
            model_name="model",
            prepared={
                "prefix": f"s3://{BUCKET}/runs/{run.run_id}/",
                "profile_uri": f"s3://{BUCKET}/runs/{run.run_id}/profile.json",
                "contract_uri": f"s3://{BUCKET}/runs/{run.run_id}/contract/schema.json",
                "contract_hash": "c" * 64,
                "data_version": "d" * 64,
                "task": "regression",
            },
            judgement={
                "model_data_url": archive,
                "model_sha256": hashlib.sha256(model).hexdigest(),
                "model_digest": "e" * 64,
                "evaluation_uri": f"{folder}/evaluation.json",
                "judgement_uri": f"{folder}/judgement.json",
                "judgement_sha256": hashlib.sha256(judgement).hexdigest(),
                **verdict,
                "smoke_uri": f"{folder}/smoke.json",
                "metric": {"name": "r2", "value": 0.5},
            },
            image=IMAGE,
            ledger=self.ledger,
            store=self.store,
            registry=self.registry,
            workflows=self.workflows,
            training_machine_arn=TRAINING,
            now=now,
        )

    def request(self, version: int, task_token: str, now: datetime = _T20, timeout_s: int = 600) -> str:
        return request_approval(
            version=version,
            task_token=task_token,
            execution_arn=self.ledger.get_run(self.ledger.get_model(version).run_id).execution_arn,
            timeout_s=timeout_s,
            ledger=self.ledger,
            workflows=self.workflows,
            now=now,
        )

    def check(self, version: int, now: datetime, reminder_s: int = 60) -> dict[str, Any]:
        return check_approval(
            version=version, reminder_s=reminder_s, model_name="model", ledger=self.ledger, now=now
        )

    def apply(self, event: dict[str, Any], now: datetime = _T30) -> dict[str, Any]:
        desk = DecisionDesk(
            self.ledger, self.registry, self.store, self.workflows, DEPLOYMENT, package_group=GROUP
        )
        return desk.apply(event, now=now)

    def close(
        self,
        admission: Admission,
        status: RunStatus,
        *,
        error: dict[str, Any] | None = None,
        decision: dict[str, Any] | None = None,
        now: datetime = _T40,
        **details: Any,
    ) -> dict[str, Any]:
        assert admission.run is not None
        return self.end_with(
            Ending(
                execution_arn=admission.run.execution_arn,
                run_id=admission.run.run_id,
                token=admission.run.token,
                status=status,
                error=error,
                details=details,
                decision=decision,
            ),
            now,
        )

    def end_with(self, ending: Ending, now: datetime = _T40) -> dict[str, Any]:
        return close_run(
            ending,
            model_name="model",
            ledger=self.ledger,
            store=self.store,
            workflows=self.workflows,
            training_machine_arn=TRAINING,
            deployment_machine_arn=DEPLOYMENT,
            now=now,
        )

    def plan(
        self,
        version: int | None,
        reason: str = "approval",
        *,
        run_id: str | None = None,
        deployment: str = "d1",
        now: datetime = _T50,
    ) -> Plan:
        return plan_deployment(
            version=version,
            reason=reason,
            run_id=run_id,
            requested_by="ann",
            execution_arn=self.running(deployment, DEPLOYMENT),
            endpoint_name=ENDPOINT,
            model_name="model",
            region=IMAGE.region,
            ledger=self.ledger,
            mode=self.mode,
            store=self.store,
            endpoints=self.endpoints,
            scaling=self.scaling,
            lease_s=LEASE_S,
            now=now,
        )

    def smoke(self, plan: Plan) -> int:
        return smoke_test(
            plan, bucket=BUCKET, store=self.store, endpoints=self.endpoints, wait=lambda look: look()
        )

    def promote(self, plan: Plan, now: datetime = _T60) -> Live:
        return promote_model(plan, ledger=self.ledger, registry=self.registry, now=now).live

    def settle(self, plan: Plan) -> None:
        settle_deployment(plan, ledger=self.ledger, endpoints=self.endpoints)

    def retire(
        self, now: datetime, grace: timedelta = timedelta(hours=1), deployment: str = "retiring"
    ) -> list[str]:
        return retire_models(
            endpoint_name=ENDPOINT,
            bucket=BUCKET,
            execution_arn=execution(deployment, DEPLOYMENT),
            grace=grace,
            ledger=self.ledger,
            store=self.store,
            endpoints=self.endpoints,
            lease_s=300,
            now=now,
        )

    def reconcile(
        self,
        now: datetime = _T70,
        event: Mapping[str, Any] | None = None,
        idle: timedelta | None = None,
    ) -> Repairs:
        return reconcile(
            ledger=self.ledger,
            store=self.store,
            workflows=self.workflows,
            endpoints=self.endpoints,
            scaling=self.scaling,
            most_instances=self.most_instances,
            jobs=self.jobs,
            model_name=GROUP,
            training_machine_arn=TRAINING,
            deployment_machine_arn=DEPLOYMENT,
            batch_machine_arn=BATCH,
            now=now,
            event=event,
            idle=idle,
        )

    # --- whole stretches ------------------------------------------------------------------------

    def candidate(self, number: int = 1, seconds: float = 0.0) -> tuple[Admission, int]:
        """A run from its drop to a version that waits for a decision."""
        admission = self.admit(a_drop(number), now=at(seconds))
        assert admission.outcome == "admitted", admission
        return admission, self.register(admission, now=at(seconds + 1)).model.version

    def approve(self, version: int, now: datetime = _T30, **how: Any) -> dict[str, Any]:
        return self.apply(self.review(version, "Approved", **how), now=now)

    def review(self, version: int, status: str, **how: Any) -> dict[str, Any]:
        return self.registry.review(
            self.ledger.get_model(version).model_package_arn, status, **{"by": "ann", **how}
        )

    def make_live(self, number: int = 1, seconds: float = 0.0) -> Live:
        """A run from its drop to its model going live, and its executions to their end."""
        admission, version = self.candidate(number, seconds)
        self.approve(version, now=at(seconds + 2))
        deployment = f"d-{version}-{seconds}"
        plan = self.plan(version, run_id=admission.run.run_id, deployment=deployment, now=at(seconds + 3))
        self.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(seconds + 4))
        live = self.promote(plan, now=at(seconds + 5))
        self.end(execution(deployment, DEPLOYMENT))
        self.end(admission.run.execution_arn)
        return live

    # --- crashes --------------------------------------------------------------------------------

    @contextmanager
    def calls(self, crash_at: int | None = None, is_done: bool = False) -> Iterator[tuple[World, list[str]]]:
        """The same world, counting the calls of its ports, one of which may crash.

        ``is_done`` lets the crash come after the call's effect, as when its answer is lost.
        """
        made: list[str] = []
        wrapped = {name: CrashingPort(name, getattr(self, name), made, crash_at, is_done) for name in _PORTS}
        yield replace(self, **wrapped), made


class CrashingPort:
    """A port that notes its calls in ``made``, one of which crashes; ``only`` names those that count."""

    def __init__(
        self,
        name: str,
        port: Any,
        made: list[str],
        crash_at: int | None,
        is_done: bool,
        only: frozenset[str] | None = None,
    ) -> None:
        self._name, self._port, self._made, self._only = name, port, made, only
        self._crash_at, self._is_done = crash_at, is_done

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if not callable(real) or (self._only is not None and name not in self._only):
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            self._made.append(f"{self._name}.{name}")
            crashes = len(self._made) == self._crash_at
            if crashes and not self._is_done:
                raise Crash(self._made[-1])
            try:
                return real(*arguments, **named)
            finally:
                if crashes:
                    raise Crash(self._made[-1])

        return call


def without_times(snapshot: dict[str, Any]) -> str:
    """The snapshot as text, in which every time is the same one."""
    text = json.dumps(snapshot, indent=1, sort_keys=True, default=str)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "TIME", text)
    return re.sub(r"-v(\d+)-\d{17}\b", r"-v\1-TIME", text)


def check_every_crash(build: Callable[[], World], act: Callable[[World, datetime], Any]) -> int:
    """Crash the use case before and after every call of a port, run it again, and compare the end states.

    The second run is 30 s later, as a retry is. Returns the number of crashes that were tried.
    """
    reference = build()
    with reference.calls() as (world, made):
        act(world, at(1000))
    expected = without_times(reference.snapshot())
    assert made, "the use case calls no port"
    for crash_at in range(1, len(made) + 1):
        for is_done in (False, True):
            world = build()
            with world.calls(crash_at, is_done) as (crashing, _):
                try:
                    act(crashing, at(1000))
                except Crash:
                    pass
                else:
                    raise AssertionError(f"call {crash_at} ({made[crash_at - 1]}) did not happen again")
            act(world, at(1030))
            where = f"{'after' if is_done else 'before'} call {crash_at}, {made[crash_at - 1]}"
            assert without_times(world.snapshot()) == expected, f"a crash {where} left another end state"
    world = build()
    act(world, at(1000))
    act(world, at(1030))
    assert without_times(world.snapshot()) == expected, "a second run changed the end state"
    return 2 * len(made)
