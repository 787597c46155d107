"""Application Auto Scaling of endpoints: how many instances a variant is to have, by its policies' own rules.

Target tracking follows the backlog of an asynchronous endpoint, or how many requests a real-time one is
answering at once; a step policy follows the CloudWatch alarms that name it. Anything else is refused by name.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html,
https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html
"""

from __future__ import annotations

import logging
import math
import re
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dropforge_local.sagemaker.asynchronous import AsynchronousRequests
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.endpoints import SCALABLE_TARGET as TARGET
from dropforge_local.sagemaker.endpoints import SCALING_POLICY as POLICY
from dropforge_local.sagemaker.endpoints import Endpoints
from dropforge_local.sagemaker.errors import UNAVAILABLE_OPERATION, ServiceError, unsupported, validation
from dropforge_local.sagemaker.store import Resource
from dropforge_local.sagemaker.validation import check_request, scaling_model

logger = logging.getLogger(__name__)

_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
BACKLOG, CONCURRENCY = "ApproximateBacklogSizePerInstance", "ConcurrentRequestsPerModel"
_PREDEFINED = {"SageMakerVariantConcurrentRequestsPerModelHighResolution": CONCURRENCY}
# Those of the alarms that target tracking makes on AWS.
_PERIODS_OUT, _PERIODS_IN, _SCALE_IN_BELOW = 3, 15, 0.9
_COOLDOWN_S = 300.0
_HIGH_RESOLUTION = 6

Sample = tuple[float, float]
"""When something was measured, in seconds since 1970-01-01 UTC, and how much it was."""


def tracked(
    current: int, target: float, samples: Sequence[Sample], period_s: float, now: float
) -> int | None:
    """The count that target tracking wants; None where it leaves things as they are.

    >>> high = [(float(second), 12.0) for second in range(240)]
    >>> tracked(2, 5.0, high, 60.0, 240.0), tracked(2, 5.0, high[:100], 60.0, 240.0)
    (5, None)
    >>> low = [(float(second), 1.0) for second in range(900)]
    >>> tracked(2, 5.0, low, 60.0, 900.0), tracked(2, 5.0, low, 60.0, 840.0)
    (1, None)
    """
    by_period: dict[int, list[float]] = defaultdict(list)
    for at, value in samples:
        by_period[int(at // period_s)].append(value)
    newest = int(now // period_s)
    periods = [by_period.get(newest - back) for back in range(1, _PERIODS_IN + 1)]
    means = [sum(each) / len(each) if each else None for each in periods]
    recent = [each for each in means[:_PERIODS_OUT] if each is not None]
    if len(recent) == _PERIODS_OUT and min(recent) > target:
        return math.ceil(current * recent[0] / target)
    known = [each for each in means if each is not None]
    if len(known) == _PERIODS_IN and max(known) < target * _SCALE_IN_BELOW:
        return min(current, math.ceil(current * known[0] / target))
    return None


def stepped(current: int, config: dict[str, Any], breach: float) -> int | None:
    """The count that a step policy wants when a metric is so far over its alarm's threshold."""
    for step in config["StepAdjustments"]:
        low = step.get("MetricIntervalLowerBound", -math.inf)
        high = step.get("MetricIntervalUpperBound", math.inf)
        if low <= breach < high:
            change = int(step["ScalingAdjustment"])
            return change if config["AdjustmentType"] == "ExactCapacity" else current + change
    return None


class Scaling:
    """Scalable targets and their policies, looked after by a thread of their own."""

    def __init__(self, context: Context, endpoints: Endpoints, requests: AsynchronousRequests) -> None:
        self._context, self._endpoints, self._requests = context, endpoints, requests
        self._samples: dict[str, deque[Sample]] = defaultdict(lambda: deque(maxlen=2000))
        self._acted: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sagemaker-scaling", daemon=True)
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "RegisterScalableTarget": self._register,
            "DeregisterScalableTarget": self._deregister,
            "DescribeScalableTargets": lambda request: self._described(TARGET, "ScalableTargets", request),
            "PutScalingPolicy": self._put_policy,
            "DeleteScalingPolicy": self._delete_policy,
            "DescribeScalingPolicies": lambda request: self._described(POLICY, "ScalingPolicies", request),
        }

    def handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation of Application Auto Scaling.

        Raises:
            ServiceError: it is refused, or not carried out here.
        """
        carry_out = self.operations.get(operation)
        if carry_out is None:
            raise ServiceError(
                UNAVAILABLE_OPERATION,
                f"The local host does not support {operation} of Application Auto Scaling.",
            )
        check_request(operation, request, scaling_model)
        if request["ServiceNamespace"] != "sagemaker":
            raise unsupported(f"scaling of {request['ServiceNamespace']}")
        if request.get("ScalableDimension", _DIMENSION) != _DIMENSION:
            raise unsupported(f"the dimension {request['ScalableDimension']}")
        return carry_out(request)

    def start(self) -> None:
        self._thread.start()

    def shut_down(self) -> None:
        self._stopping.set()
        self._thread.join()

    # --- operations ---

    def _register(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("SuspendedState"):
            raise unsupported("SuspendedState of a scalable target")
        endpoint, variant = _parts(request["ResourceId"])
        described = self._endpoints.describe({"EndpointName": endpoint})
        names = [each["VariantName"] for each in described.get("ProductionVariants", [])]
        if variant not in names:
            raise validation(f"Could not find the variant {variant} of endpoint {endpoint}.")
        with self._context.store.transaction() as tx:
            found = tx.get(TARGET, request["ResourceId"])
            known = {} if found is None else found.document
            document = {
                "ServiceNamespace": "sagemaker",
                "ScalableDimension": _DIMENSION,
                "CreationTime": self._context.clock(),
                **known,
                **{key: value for key, value in request.items() if key not in ("RoleARN", "Tags")},
            }
            missing = [key for key in ("MinCapacity", "MaxCapacity") if key not in document]
            if missing:
                raise validation(f"{' and '.join(missing)} must be given for a new scalable target.")
            if document["MinCapacity"] > document["MaxCapacity"]:
                raise validation("MinCapacity must not be above MaxCapacity.")
            if document["MinCapacity"] < 1 and "AsyncInferenceConfig" not in described:
                raise validation("Only an asynchronous endpoint can be without instances.")
            arn = document["ScalableTargetARN"] = known.get("ScalableTargetARN") or self._arn(
                "application-autoscaling", f"scalable-target/{uuid.uuid4().hex[:22]}"
            )
            self._store(tx, TARGET, request["ResourceId"], arn, document)
        return {"ScalableTargetARN": arn}

    def _deregister(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._context.store.transaction() as tx:
            if tx.get(TARGET, request["ResourceId"]) is None:
                raise ServiceError(
                    "ObjectNotFoundException", f"No scalable target found for {request['ResourceId']}."
                )
            tx.delete(TARGET, request["ResourceId"])
            for policy in self._policies(tx.all(POLICY), request["ResourceId"]):
                tx.delete(POLICY, policy.name)
        return {}

    def _put_policy(self, request: dict[str, Any]) -> dict[str, Any]:
        resource = request["ResourceId"]
        _check_policy(request)
        name = f"{resource}:{request['PolicyName']}"
        with self._context.store.transaction() as tx:
            if tx.get(TARGET, resource) is None:
                raise ServiceError(
                    "ObjectNotFoundException",
                    f"No scalable target registered for service namespace sagemaker, resource ID {resource}.",
                )
            found = tx.get(POLICY, name)
            known = {} if found is None else found.document
            arn = known.get("PolicyARN") or self._arn(
                "autoscaling",
                f"scalingPolicy:{uuid.uuid4()}:resource/sagemaker/{resource}:policyName/{request['PolicyName']}",
            )
            document = {"CreationTime": self._context.clock(), **known, **request, "PolicyARN": arn}
            self._store(tx, POLICY, name, arn, document)
        return {"PolicyARN": arn, "Alarms": []}

    def _delete_policy(self, request: dict[str, Any]) -> dict[str, Any]:
        name = f"{request['ResourceId']}:{request['PolicyName']}"
        with self._context.store.transaction() as tx:
            if tx.get(POLICY, name) is None:
                raise ServiceError("ObjectNotFoundException", f"No scaling policy found: {name}.")
            tx.delete(POLICY, name)
        return {}

    def _described(self, kind: str, member: str, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("ResourceIds") or ([request["ResourceId"]] if "ResourceId" in request else None)
        with self._context.store.transaction() as tx:
            found = [each.document for each in tx.all(kind)]
        return {member: [each for each in found if wanted is None or each["ResourceId"] in wanted]}

    # --- inside ---

    def _watch(self) -> None:
        while not self._stopping.wait(self._context.limits.scaling_look_s):
            with self._context.store.transaction() as tx:
                targets, policies = tx.all(TARGET), tx.all(POLICY)
            for target in targets:
                try:
                    self._look(target, self._policies(policies, target.name))
                except Exception:
                    logger.exception("scaling of %s broke inside the host", target.name)

    def _look(self, target: Resource, policies: Iterable[Resource]) -> None:
        endpoint, variant = _parts(target.name)
        live = self._endpoints.live(endpoint)
        if live is None or live.fleet is None:
            return
        running = next(each for each in live.fleet.variants if each.name == variant)
        now, current = self._context.clock(), running.wanted
        value = self._measured(endpoint, running, is_asynchronous=live.fleet.asynchronous is not None)
        if value is not None:
            self._samples[target.name].append((now, value))
        wishes = [self._wish(policy, target.name, current, now) for policy in policies]
        # Of several policies the one counts that gives the most.
        wanted = max((each for each in wishes if each is not None), default=current)
        bounded = min(max(wanted, target.document["MinCapacity"]), target.document["MaxCapacity"])
        if bounded == current or self._endpoints.describe({"EndpointName": endpoint})["EndpointStatus"] != (
            "InService"
        ):
            return
        self._acted[target.name] = now
        self._endpoints.update_weights(
            {
                "EndpointName": endpoint,
                "DesiredWeightsAndCapacities": [{"VariantName": variant, "DesiredInstanceCount": bounded}],
            }
        )

    def _measured(self, endpoint: str, running: Any, *, is_asynchronous: bool) -> float | None:
        """What target tracking follows; the endpoint's metrics are put as well."""
        put, instances = self._context.ports.put_metric, len(running.instances)
        if not is_asynchronous:
            value = running.in_flight / max(instances, 1)
            put(CONCURRENCY, value, "Count", {"EndpointName": endpoint, "VariantName": running.name})
            return float(value)
        dimensions = {"EndpointName": endpoint}
        waiting = self._requests.waiting(endpoint)
        put("ApproximateBacklogSize", float(len(waiting)), "Count", dimensions)
        put("HasBacklogWithoutCapacity", float(bool(waiting) and not instances), "Count", dimensions)
        if not instances:
            return None
        put(BACKLOG, len(waiting) / instances, "Count", dimensions)
        return len(waiting) / instances

    def _wish(self, policy: Resource, resource: str, current: int, now: float) -> int | None:
        document, since_s = policy.document, now - self._acted.get(resource, -math.inf)
        period_s = self._context.limits.scaling_period_s
        scale = period_s / 60.0  # a host of a test has shorter minutes
        if document["PolicyType"] == "StepScaling":
            config = document["StepScalingPolicyConfiguration"]
            breach = self._context.ports.breach_of(document["PolicyARN"])
            if breach is None or since_s < config.get("Cooldown", _COOLDOWN_S) * scale:
                return None
            return stepped(current, config, breach)
        config = document["TargetTrackingScalingPolicyConfiguration"]
        if "PredefinedMetricSpecification" in config:
            period_s /= _HIGH_RESOLUTION
        wish = tracked(current, config["TargetValue"], list(self._samples[resource]), period_s, now)
        if wish is None or (wish < current and config.get("DisableScaleIn")):
            return None
        cooldown = config.get("ScaleOutCooldown" if wish > current else "ScaleInCooldown", _COOLDOWN_S)
        return wish if since_s >= cooldown * scale else None

    def _policies(self, policies: Iterable[Resource], resource: str) -> list[Resource]:
        return [each for each in policies if each.document["ResourceId"] == resource]

    def _store(self, tx: Any, kind: str, name: str, arn: str, document: dict[str, Any]) -> None:
        now = self._context.clock()
        tx.put(Resource(kind, name, arn, document), created=document["CreationTime"], modified=now)

    def _arn(self, service: str, resource: str) -> str:
        arns = self._context.arns
        return f"arn:{arns.partition}:{service}:{arns.region}:{arns.account_id}:{resource}"


def _parts(resource: str) -> tuple[str, str]:
    match = _RESOURCE.fullmatch(resource)
    if match is None:
        raise validation(f"Unsupported resource ID {resource}; it is endpoint/NAME/variant/NAME.")
    return match[1], match[2]


def _check_policy(request: dict[str, Any]) -> None:
    if request.get("PolicyType") == "StepScaling":
        config = request.get("StepScalingPolicyConfiguration")
        if config is None or not config.get("StepAdjustments"):
            raise validation("StepScalingPolicyConfiguration with StepAdjustments is required.")
        if config.get("AdjustmentType") not in ("ChangeInCapacity", "ExactCapacity"):
            raise unsupported(f"AdjustmentType {config.get('AdjustmentType')}")
        return
    if request.get("PolicyType") != "TargetTrackingScaling":
        raise unsupported(f"PolicyType {request.get('PolicyType')}")
    config = request.get("TargetTrackingScalingPolicyConfiguration") or {}
    predefined = (config.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
    customized = (config.get("CustomizedMetricSpecification") or {}).get("MetricName")
    if predefined not in _PREDEFINED and customized != BACKLOG:
        raise unsupported(f"target tracking of {predefined or customized}")
