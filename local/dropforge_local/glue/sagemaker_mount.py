"""Mounts our SageMaker service in MiniStack: the API by its target header, the runtime by its path."""

from __future__ import annotations

import contextvars
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.own_clients import own_client
from dropforge_local.glue.seams import app, cloudwatch, concurrency, eventbridge, lambda_runtime, router
from dropforge_local.glue.seams import cloudwatch_logs as logs
from dropforge_local.sagemaker.ports import HostPorts
from dropforge_local.sagemaker.service import SageMaker
from dropforge_local.sagemaker.wire import SCALING_TARGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.glue import Installed
    from dropforge_local.glue.metric_data import MetricData
    from dropforge_local.settings import HostSettings

_TARGET = "SageMaker."


def install(
    settings: HostSettings, metrics: MetricData, refused: Callable[..., Any], installed: Installed
) -> SageMaker:
    """Route SageMaker's requests to a new service, which starts once the host's state is restored.

    Args:
        refused: (path, headers, query, body) to None, or to the answer to who may not make the request.
    """

    clients = own_client(settings)
    service = SageMaker(
        settings.state_dir / "sagemaker",
        HostPorts(
            s3=lambda: clients("s3"),
            emit_event=_emit_event,
            put_log=_put_log,
            alarm_state=_alarm_state,
            breach_of=_breach_of,
            put_metric=lambda name, value, unit, dimensions: metrics.put_outside_requests(
                "AWS/SageMaker", name, [value], unit, dimensions
            ),
            environment=lambda role: _container_environment(role, settings),
        ),
        account_id=settings.account_id,
        region=settings.region,
        python=sys.executable,
    )

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        denied = refused(path, headers, query_params, body)
        if denied is not None:
            return denied
        # An endpoint's model and a starting job call back into this server, so not on its loop.
        return await concurrency.run_reentrant(
            service.http, method, path, headers, body, query_params, thread_name="dropforge-sagemaker"
        )

    router.SERVICE_PATTERNS["sagemaker"] = {
        "target_prefixes": [_TARGET, f"{SCALING_TARGET}."],
        "host_patterns": [r"(api|runtime)\.sagemaker\.", r"application-autoscaling\."],
        "path_patterns": [r"^/endpoints/[^/]+/(async-)?invocations"],
    }
    app.SERVICE_HANDLERS["sagemaker"] = handle
    installed.starting.append(service.start)
    installed.closing.append(service.stop)
    return service


def emit_aws_event(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    """Put an event of an AWS service on the default bus; over HTTP such sources are refused, as on AWS.

    Raises:
        RuntimeError: EventBridge did not take it.
    """

    entry = {
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "Resources": resources,
    }
    # A caller's thread may carry another request's account; the event belongs to the host's.
    status, _, body = contextvars.Context().run(
        eventbridge._put_events, {"Entries": [entry]}, allow_aws_source=True
    )
    if status >= 400 or json.loads(body).get("FailedEntryCount"):
        raise RuntimeError(f"EventBridge refused {detail_type}: {body!r}")


def _emit_event(detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    emit_aws_event("aws.sagemaker", detail_type, detail, resources)


def _put_log(group: str, stream: str, lines: list[tuple[int, str]]) -> None:

    def put() -> None:
        for create, name in (
            (logs._create_log_group, {}),
            (logs._create_log_stream, {"logStreamName": stream}),
        ):
            create(
                {"logGroupName": group, **name}
            )  # answers ResourceAlreadyExistsException from the second time on
        now = int(time.time() * 1000)
        events = [{"timestamp": at, "message": line} for at, line in lines] or [
            {"timestamp": now, "message": ""}
        ]
        logs._put_log_events({"logGroupName": group, "logStreamName": stream, "logEvents": events})

    contextvars.Context().run(put)


def _alarm_state(name: str) -> str | None:

    def state() -> str | None:
        alarm = cloudwatch._alarms.get(name) or cloudwatch._composite_alarms.get(name)
        return alarm["StateValue"] if alarm else None

    return contextvars.Context().run(state)


def _breach_of(action: str) -> float | None:

    def breach() -> float | None:
        for alarm in list(cloudwatch._alarms.values()):
            if alarm["StateValue"] == "ALARM" and action in (alarm.get("AlarmActions") or []):
                values = json.loads(alarm.get("StateReasonData") or "{}").get("recentDatapoints")
                threshold = float(alarm.get("Threshold") or 0.0)
                return (float(values[-1]) if values else threshold) - threshold
        return None

    return contextvars.Context().run(breach)


def _container_environment(role_arn: str, settings: HostSettings) -> dict[str, str]:
    """How a container reaches this host as ``role_arn``: with IAM enforced it gets a session of the role."""

    name = "sagemaker-container"
    config = {
        "FunctionArn": f"arn:aws:lambda:{settings.region}:{settings.account_id}:function:{name}",
        "FunctionName": name,
        "Role": role_arn,
    }
    credentials = lambda_runtime.execution_credentials(config)
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{settings.port}",
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        **{key: value for key, value in credentials.items() if value},
    }
