"""Endpoints: the operations, and the description of each endpoint as it goes from state to state."""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections.abc import Callable
from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.deployment import Deployment, Plan
from dropforge_local.sagemaker.endpoint_changes import (
    check_deployment_config,
    check_guarded,
    check_kind,
    check_scaled,
    retain,
    with_capacities,
)
from dropforge_local.sagemaker.endpoint_description import described, event_detail
from dropforge_local.sagemaker.errors import validation
from dropforge_local.sagemaker.models import Models
from dropforge_local.sagemaker.store import Query, Resource, Transaction

logger = logging.getLogger(__name__)

KIND = "endpoint"
SCALABLE_TARGET, SCALING_POLICY = "scalable-target", "scaling-policy"
EVENT = "SageMaker Endpoint State Change"
_IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


class Endpoints:
    """The endpoints of one service."""

    def __init__(self, context: Context, models: Models) -> None:
        self._context = context
        self._models = models
        self._folder = context.state_dir / "endpoints"
        self._live: dict[str, Deployment] = {}
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._stopping = False

    # --- operations ---

    def create(self, request: dict[str, Any], capacity_error: str | None = None) -> dict[str, Any]:
        """CreateEndpoint: in service once every instance has answered its health check."""
        name = request["EndpointName"]
        if request.get("DeploymentConfig"):
            check_deployment_config(request["DeploymentConfig"])
        arn = self._context.arns.of(KIND, name)
        now = self._context.clock()
        with self._context.store.transaction() as tx:
            if tx.get(KIND, name) is not None:
                raise validation(f'Cannot create already existing endpoint "{arn}".')
            snapshot = self._new_snapshot(tx, request["EndpointConfigName"])
            document = {
                "EndpointName": name,
                "EndpointArn": arn,
                "EndpointConfigName": snapshot["EndpointConfigName"],
                "EndpointStatus": "Creating",
                "CreationTime": now,
                "LastModifiedTime": now,
                "_Pending": snapshot,
                "_CapacityError": capacity_error,
            }
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
            self._put(tx, document)
        self._start(name, lambda live: self._create(name, live))
        return {"EndpointArn": arn}

    def update(self, request: dict[str, Any], capacity_error: str | None = None) -> dict[str, Any]:
        """UpdateEndpoint: a new fleet beside the old one; the old one serves until the new one is healthy."""
        name = request["EndpointName"]
        config = request.get("DeploymentConfig")
        with self._context.store.transaction() as tx:
            document = self._idle(tx, name)
            current = document["_Current"]
            snapshot = self._new_snapshot(tx, request["EndpointConfigName"])
            check_kind(current, snapshot)
            check_scaled(current, snapshot, [each.name for each in tx.all(SCALABLE_TARGET)], name)
            if request.get("RetainAllVariantProperties"):
                excluded = request.get("ExcludeRetainedVariantProperties", [])
                retain(current, snapshot, {item["VariantPropertyType"] for item in excluded})
            if config is None and request.get("RetainDeploymentConfig"):
                config = document.get("LastDeploymentConfig")
            if config is not None:
                check_deployment_config(config)
                check_guarded(current, snapshot)
                for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", []):
                    if self._context.ports.alarm_state(alarm["AlarmName"]) is None:
                        raise validation(f"The CloudWatch alarm {alarm['AlarmName']} does not exist.")
            document |= {
                "EndpointStatus": "Updating",
                "_Pending": snapshot,
                "_DeploymentConfig": config,
                "_CapacityError": capacity_error,
                "_PendingSince": self._context.clock(),
            }
            document.pop("FailureReason", None)
            self._put(tx, document)
        self._start(name, lambda live: self._update(name, live))
        return {"EndpointArn": document["EndpointArn"]}

    def update_weights(self, request: dict[str, Any]) -> dict[str, Any]:
        """UpdateEndpointWeightsAndCapacities: weights at once, instances as they become healthy."""
        name = request["EndpointName"]
        with self._context.store.transaction() as tx:
            document = self._idle(tx, name)
            desired = {item["VariantName"]: item for item in request["DesiredWeightsAndCapacities"]}
            snapshot = with_capacities(document["_Current"], desired)
            document |= {"EndpointStatus": "Updating", "_Rescaled": snapshot}
            document.pop("FailureReason", None)
            self._put(tx, document)
        self._start(name, lambda live: self._rescale(name, live))
        return {"EndpointArn": document["EndpointArn"]}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeEndpoint."""
        with self._context.store.transaction() as tx:
            return described(self._find(tx, request["EndpointName"]).document)

    def list_page(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListEndpoints."""
        with self._context.store.transaction() as tx:
            found, token = tx.page(Query.requested(KIND, request))
        members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        summaries = [{member: item.document[member] for member in members} for item in found]
        return {"Endpoints": summaries} | ({"NextToken": token} if token else {})

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteEndpoint: no further requests; those under way are answered, then the servers end."""
        name = request["EndpointName"]
        with self._context.store.transaction() as tx:
            document = self._find(tx, name).document
            if document["EndpointStatus"] in _IN_PROGRESS:
                raise validation(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
            document["EndpointStatus"] = "Deleting"
            self._put(tx, document)
            # SageMaker deregisters what scales the endpoint, and with it goes every policy.
            for kind in (SCALABLE_TARGET, SCALING_POLICY):
                for each in tx.all(kind):
                    if each.name.startswith(f"endpoint/{name}/"):
                        tx.delete(kind, each.name)
        self._start(name, lambda live: self._delete(name, live))
        return {}

    def exists(self, name: str) -> bool:
        """Whether there is an endpoint of the name, in whatever state."""
        with self._context.store.transaction() as tx:
            return tx.get(KIND, name) is not None

    def live(self, name: str) -> Deployment | None:
        """What answers the requests of an endpoint; None when there is no such endpoint in service."""
        with self._lock:
            live = self._live.get(name.lower())
        return live if live is not None and live.traffic.open else None

    # --- life cycle of the service ---

    def recover(self) -> None:
        """Bring all endpoints back to what they were when the last process ended."""
        with self._context.store.transaction() as tx:
            documents = [found.document for found in tx.all(KIND)]
        self._remove_leftovers(documents)
        steps: dict[str, Callable[[str, Deployment], None]] = {
            "Creating": self._create,
            "Updating": self._resume_update,
            "RollingBack": self._resume_update,
            "InService": self._revive,
            "OutOfService": self._revive,
            "Deleting": self._delete,
        }
        for document in documents:
            step = steps.get(document["EndpointStatus"])
            if step is not None:
                name = document["EndpointName"]
                back = document["_Current"] if step in (self._revive, self._resume_update) else None
                self._start(name, lambda live, name=name, step=step: step(name, live), back)  # type: ignore[misc]

    def shut_down(self) -> None:
        """End all servers; the endpoints come back at the next start."""
        with self._lock:
            self._stopping = True
            lives, threads = list(self._live.values()), list(self._threads)
        for live in lives:
            live.abandon()
        for thread in threads:
            thread.join(30.0)
        for live in lives:
            live.stop(keep_files=True)

    # --- steps, each in a thread of its own ---

    def _create(self, name: str, live: Deployment) -> None:
        document = self._read(name)
        snapshot = document["_Pending"]
        reason = live.bring_up(snapshot, document.get("_CapacityError"))
        if reason is not None:
            self._change(name, {"EndpointStatus": "Failed", "FailureReason": reason, "_Pending": None})
            return
        self._change(name, {"EndpointStatus": "InService", "_Current": snapshot, "_Pending": None})

    def _update(self, name: str, live: Deployment) -> None:
        document = self._read(name)
        snapshot = document["_Pending"]
        plan = Plan.of(document.get("_DeploymentConfig"), self._context.ports.alarm_state)
        reason = live.replace(snapshot, plan, document.get("_CapacityError"))
        members: dict[str, Any] = {"EndpointStatus": "InService", "_Pending": None, "_DeploymentConfig": None}
        if reason is None:
            members |= {"_Current": snapshot, "EndpointConfigName": snapshot["EndpointConfigName"]}
            if document.get("_DeploymentConfig"):
                members["LastDeploymentConfig"] = document["_DeploymentConfig"]
        else:
            members["FailureReason"] = reason
        self._change(name, members)

    def _rescale(self, name: str, live: Deployment) -> None:
        document = self._read(name)
        old, new = document["_Current"], document["_Rescaled"]
        reason = live.rescale(new)
        if reason is None:
            self._change(name, {"EndpointStatus": "InService", "_Current": new, "_Rescaled": None})
            return
        self._change(name, {"EndpointStatus": "RollingBack"})
        live.rescale(old)
        self._change(name, {"EndpointStatus": "InService", "FailureReason": reason, "_Rescaled": None})

    def _resume_update(self, name: str, live: Deployment) -> None:
        document = self._read(name)
        live.revive()
        if document.get("_Pending"):
            self._update(name, live)
        else:
            self._rescale(name, live)

    def _revive(self, name: str, live: Deployment) -> None:
        document = self._read(name)
        reason = live.revive()
        if reason is not None:
            self._change(name, {"EndpointStatus": "OutOfService", "FailureReason": reason})
        elif document["EndpointStatus"] != "InService":
            self._change(name, {"EndpointStatus": "InService", "FailureReason": None})

    def _delete(self, name: str, live: Deployment) -> None:
        live.close()
        with self._context.store.transaction() as tx:
            found = tx.get(KIND, name)
            if found is not None:
                detail = event_detail(found.document, tx.tags(found.arn)) | {"EndpointStatus": "DELETED"}
                tx.delete(KIND, name)
                tx.emit(EVENT, detail, [found.arn])
        with self._lock:
            self._live.pop(name.lower(), None)

    # --- inside ---

    def _start(
        self, name: str, step: Callable[[Deployment], None], back: dict[str, Any] | None = None
    ) -> None:
        """Do a step in the background; requests wait for what it brings back from now on."""
        with self._lock:
            if self._stopping:
                return
            live = self._live.get(name.lower())
            if live is None:
                live = self._live[name.lower()] = Deployment(self._context, name, self._folder)
            if back is not None:
                live.attach(back)
            made = live
            thread = threading.Thread(
                target=lambda: self._run(name, made, step), name=f"sagemaker-endpoint-{name}", daemon=True
            )
            self._threads.add(thread)
        thread.start()

    def _run(self, name: str, live: Deployment, step: Callable[[Deployment], None]) -> None:
        try:
            live.doing(lambda: step(live))
        except Exception:
            logger.exception("endpoint %s broke inside the host", name)
            reason = "Request to service failed. An internal error occurred; try again."
            status = "InService" if live.traffic.open else "Failed"
            self._change(name, {"EndpointStatus": status, "FailureReason": reason, "_Pending": None})
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _new_snapshot(self, tx: Transaction, config_name: str) -> dict[str, Any]:
        return self._models.snapshot(tx, config_name) | {
            "_Fleet": uuid.uuid4().hex[:12],
            "_ResolutionTime": self._context.clock(),
        }

    def _find(self, tx: Transaction, name: str) -> Resource:
        found = tx.get(KIND, name)
        if found is None:
            raise validation(f'Could not find endpoint "{self._context.arns.of(KIND, name)}".')
        return found

    def _idle(self, tx: Transaction, name: str) -> dict[str, Any]:
        """The document of an endpoint that may be updated now."""
        document = self._find(tx, name).document
        status, arn = document["EndpointStatus"], document["EndpointArn"]
        if status in _IN_PROGRESS:
            raise validation(f'Cannot update in-progress endpoint "{arn}".')
        if status == "Failed":
            raise validation(
                f'Cannot update endpoint "{arn}" with status "Failed". DeleteEndpoint is the only operation '
                "that can be performed on a failed endpoint."
            )
        return document

    def _read(self, name: str) -> dict[str, Any]:
        with self._context.store.transaction() as tx:
            return self._find(tx, name).document

    def _change(self, name: str, members: dict[str, Any]) -> None:
        with self._context.store.transaction() as tx:
            found = tx.get(KIND, name)
            if found is not None:
                self._put(tx, found.document | members)

    def _put(self, tx: Transaction, document: dict[str, Any]) -> None:
        now = self._context.clock()
        document["LastModifiedTime"] = now
        arn = document["EndpointArn"]
        tx.put(
            Resource(KIND, document["EndpointName"], arn, document),
            created=document["CreationTime"],
            modified=now,
            status=document["EndpointStatus"],
        )
        tx.emit(EVENT, event_detail(document, tx.tags(arn)), [arn])

    def _remove_leftovers(self, documents: list[dict[str, Any]]) -> None:
        """Delete the folders of fleets that no endpoint has any more."""
        if not self._folder.exists():
            return
        kept = {
            (document["EndpointName"].lower(), document[member]["_Fleet"])
            for document in documents
            for member in ("_Current", "_Pending")
            if document.get(member)
        }
        for endpoint in self._folder.iterdir():
            for fleet in endpoint.iterdir():
                if (endpoint.name, fleet.name) not in kept:
                    shutil.rmtree(fleet, ignore_errors=True)
