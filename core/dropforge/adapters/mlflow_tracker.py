"""MLflow's REST API without MLflow, which is larger than what a Lambda function may have.

https://mlflow.org/docs/latest/api_reference/rest-api.html. Texts and whole numbers are sent as the API has
them: a server takes others as well, and keeps something else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final
from urllib.parse import quote, urlencode, urlsplit

from dropforge.adapters.sigv4_http import Answer, CallRefused, Credentials, SignedHttp, Signer, translated
from dropforge.domain.errors import InvalidSettings, ObjectMissing, ServiceRejected
from dropforge.domain.ports import ObjectStore
from dropforge.tracking.runs import Dataset
from dropforge.tracking.tracker import EXPERIMENT_TAGS, TrackedRun, TrackedVersion

_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_ARN: Final = re.compile(
    r"arn:aws(?:-us-gov)?:sagemaker:([a-z0-9-]+):\d{12}:(mlflow-tracking-server|mlflow-app)/.+"
)
# Where they are, by which name requests are signed, and which header says which one is meant:
# https://github.com/aws/sagemaker-mlflow, 0.5.0.
_MANAGED: Final[Mapping[str, tuple[str, str, str]]] = {
    "mlflow-tracking-server": (
        "https://{region}.experiments.sagemaker.aws",
        "sagemaker-mlflow",
        "x-mlflow-sm-tracking-server-arn",
    ),
    "mlflow-app": ("https://mlflow.sagemaker.{region}.app.aws", "sagemaker", "x-sm-mlflow-app-arn"),
}
_PARAMS, _METRICS = 100, 1000
_PAGE = 1000
_TIMEOUT_S = 30.0


class _Unsigned:
    """What a server that asks nobody who they are is sent."""

    def headers(
        self, method: str, host: str, path: str, given: Mapping[str, str], body: bytes, now: float
    ) -> dict[str, str]:
        return {**given, "host": host}


class MlflowTracker:
    """`Tracker` on a server of MLflow.

    Args:
        sent: headers of each request.
        store: writes files of servers whose artifacts are in S3; others take them over HTTP.
    """

    def __init__(self, http: SignedHttp, sent: Mapping[str, str], store: ObjectStore) -> None:
        self._http, self._sent, self._store = http, sent, store

    @classmethod
    def of(cls, tracking: str, env: Mapping[str, str], store: ObjectStore) -> MlflowTracker:
        """Connect to a SageMaker MLflow app or tracking server by its ARN, or to a server by its URL.

        Raises:
            InvalidSettings: it is neither.
        """
        if tracking.startswith("arn:"):
            found = _ARN.fullmatch(tracking)
            if found is None:
                raise InvalidSettings(
                    f"MlflowTracking: {tracking} is no SageMaker MLflow app and no tracking server."
                )
            url, service, header = _MANAGED[found[2]]
            signer = Signer(Credentials.from_env(env), found[1], service)
            http = SignedHttp(url.format(region=found[1]), signer, timeout_s=_TIMEOUT_S)
            return cls(http, {header: tracking}, store)
        return cls(SignedHttp(tracking, _Unsigned(), timeout_s=_TIMEOUT_S), {}, store)

    def experiment(self, name: str) -> str:
        try:
            found = self._get("experiments/get-by-name", experiment_name=name)["experiment"]
        except ObjectMissing:
            made = self._post("experiments/create", name=name, tags=_tags(EXPERIMENT_TAGS))
            return str(made["experiment_id"])
        if found.get("lifecycle_stage") == "deleted":
            raise ServiceRejected(f"The experiment {name!r} was deleted in MLflow. Restore it there.")
        return str(found["experiment_id"])

    def runs(self, experiment: str) -> list[TrackedRun]:
        found: list[TrackedRun] = []
        token = ""
        while True:
            page = self._post(
                "runs/search", experiment_ids=[experiment], max_results=_PAGE, page_token=token or None
            )
            found += [_tracked(each) for each in page.get("runs", [])]
            token = page.get("next_page_token", "")
            if not token:
                return found

    def create_run(self, experiment: str, name: str, start_ms: int, tags: Mapping[str, str]) -> TrackedRun:
        made = self._post(
            "runs/create", experiment_id=experiment, run_name=name, start_time=start_ms, tags=_tags(tags)
        )
        return _tracked(made["run"])

    def log_values(
        self, run: str, params: Mapping[str, str], metrics: Mapping[str, float], at_ms: int
    ) -> None:
        for some in _chunks(_tags(params), _PARAMS):
            self._post("runs/log-batch", run_id=run, params=some)
        measured = [
            {"key": name, "value": value, "timestamp": at_ms, "step": 0} for name, value in metrics.items()
        ]
        for some in _chunks(measured, _METRICS):
            self._post("runs/log-batch", run_id=run, metrics=some)

    def log_dataset(self, run: str, dataset: Dataset) -> None:
        told = {
            "name": dataset.name,
            "digest": dataset.digest,
            "source_type": "s3",
            "source": dataset.source,
            "schema": dataset.schema,
            "profile": dataset.profile,
        }
        tags = _tags({"mlflow.data.context": "training"})
        self._post("runs/log-inputs", run_id=run, datasets=[{"tags": tags, "dataset": told}])

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        for some in _chunks(_tags(tags), _PARAMS):
            self._post("runs/log-batch", run_id=run, tags=some)

    def end_run(self, run: str, status: str, end_ms: int) -> None:
        self._post("runs/update", run_id=run, status=status, end_time=end_ms)

    def put_file(self, run: TrackedRun, path: str, content: bytes | BinaryIO) -> None:
        place = urlsplit(run.artifacts)
        if place.scheme == "s3":
            uri = f"{run.artifacts.rstrip('/')}/{path}"
            if isinstance(content, bytes):
                self._store.write(uri, content)
            else:
                self._store.upload(uri, content)
            return
        if place.scheme != "mlflow-artifacts":
            raise ServiceRejected(
                f"MLflow keeps files of its runs at {run.artifacts}, where nobody else can write. Start the "
                "server with --serve-artifacts, or with an artifact root in S3."
            )
        body = content if isinstance(content, bytes) else content.read()
        target = quote(f"{place.path.strip('/')}/{path}")
        self._send("PUT", f"{_ARTIFACTS}/{target}", body, "application/octet-stream")

    def register(self, model: str, description: str) -> None:
        try:
            self._get("registered-models/get", name=model)
        except ObjectMissing:
            self._post("registered-models/create", name=model, description=description)

    def versions(self, model: str) -> list[TrackedVersion]:
        found: list[TrackedVersion] = []
        token = ""
        while True:
            asked = {"page_token": token} if token else {}
            page = self._get("model-versions/search", filter=f"name='{model}'", **asked)
            found += [
                TrackedVersion(str(each["version"]), _by_key(each.get("tags", [])))
                for each in page.get("model_versions", [])
            ]
            token = page.get("next_page_token", "")
            if not token:
                return found

    def create_version(
        self, model: str, run: TrackedRun, folder: str, description: str, tags: Mapping[str, str]
    ) -> TrackedVersion:
        made = self._post(
            "model-versions/create",
            name=model,
            source=f"{run.artifacts}/{folder}",
            run_id=run.id,
            tags=_tags(tags),
            description=description,
        )
        return TrackedVersion(str(made["model_version"]["version"]), dict(tags))

    def tag_version(self, model: str, number: str, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._post("model-versions/set-tag", name=model, version=number, key=name, value=value)

    def aliases(self, model: str) -> dict[str, str]:
        found = self._get("registered-models/get", name=model)["registered_model"]
        return {each["alias"]: str(each["version"]) for each in found.get("aliases", [])}

    def set_alias(self, model: str, alias: str, number: str) -> None:
        self._post("registered-models/alias", name=model, alias=alias, version=number)

    def remove_alias(self, model: str, alias: str) -> None:
        self._ask("DELETE", "registered-models/alias", {"name": model, "alias": alias})

    # --- requests -------------------------------------------------------------------------------------

    def _get(self, call: str, **query: str) -> dict[str, Any]:
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        return self._read(self._send("GET", f"{_API}/{call}?{asked}", b"", "application/json"), call)

    def _post(self, call: str, **content: Any) -> dict[str, Any]:
        return self._ask("POST", call, {name: value for name, value in content.items() if value is not None})

    def _ask(self, method: str, call: str, content: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
        return self._read(self._send(method, f"{_API}/{call}", body, "application/json"), call)

    def _read(self, answer: bytes, call: str) -> dict[str, Any]:
        try:
            found = json.loads(answer)
        except ValueError as error:
            raise ServiceRejected(
                f"What answers {call} is no MLflow server: its answer is no JSON."
            ) from error
        return dict(found)

    def _send(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        headers = {
            **self._sent,
            "content-type": content_type,
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        }
        try:
            return self._http.send(method, path, headers, body, _error).body
        except CallRefused as refused:
            if refused.code == "RESOURCE_DOES_NOT_EXIST":
                raise ObjectMissing(str(refused)) from refused
            raise translated(refused, f"MLflow's {path.partition('?')[0]}") from refused


def _error(answer: Answer) -> tuple[str, str]:
    try:
        said = json.loads(answer.body)
        return str(said["error_code"]), str(said.get("message", ""))
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status}", answer.body[:500].decode("utf-8", "replace")


def _tracked(run: Mapping[str, Any]) -> TrackedRun:
    info = run["info"]
    tags = _by_key((run.get("data") or {}).get("tags", []))
    return TrackedRun(
        info["run_id"], info["artifact_uri"], info["status"], int(info.get("end_time") or 0), tags
    )


def _by_key(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in tags}


def _tags(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
