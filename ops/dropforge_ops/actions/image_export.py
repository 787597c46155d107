"""A version as a folder that becomes a container image: application, model, manifests, workflow.

What depends on the version lies in ``app/`` and ``requirements.txt``, and is written anew. Everything else is
the reader's to change, and is written where it is not there yet.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import yaml
from botocore.exceptions import ClientError

from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectRef
from dropforge.domain.records import Approval, Live, ModelVersion
from dropforge.domain.training_code import what_is_imported
from dropforge.tracking.model_files import Packed, needed_libraries
from dropforge_ops.errors import NotFound, OperationFailed, code_of
from dropforge_ops.stack.target import Target, stack_description

ENTRY: Final = "dropforge.image.app"
"""What uvicorn starts; the modules that it imports, in turn, are carried."""
OWN: Final = ("app", "requirements.txt")
"""What an export replaces."""
MAXIMUM_ARCHIVE_BYTES: Final = 2 * 1024**3

_ARCHIVE: Final = "app/model/model.tar.gz"
_TOLD: Final = "app/model/archive.json"
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Exported:
    """What was written, by path below the folder; `kept` was there with other content, and stays."""

    version: int
    contract_hash: str
    files: int
    changed: list[str]
    kept: list[str]


def export_image(target: Target, model: ModelVersion, folder: Path) -> Exported:
    """Write the version to the folder, and note in the stack that it may be served elsewhere.

    Once more it changes nothing.

    Raises:
        OperationFailed: the version was never live or is not approved, its archive is gone or another, it
            needs libraries that this release doesn't pin, or the folder can't be written.
    """
    _refuse_unapproved(model)
    archive = _object(target, model.model_data_url, model)
    if sha256(archive).hexdigest() != model.model_sha256:
        raise OperationFailed(
            f"{model.model_data_url} is not the archive that was judged. Restore the object."
        )
    told = _json(_as_live(model, target.ledger.live()))
    own = {
        **{f"app/{path}": content for path, content in application().items()},
        _ARCHIVE: archive,
        "app/model/contract.json": _contract(target, model),
        "app/model/evaluation.json": _object(target, model.evaluation_uri, model),
        _TOLD: told,
        "requirements.txt": _requirements(Packed.read(io.BytesIO(archive)), model),
    }
    given = dict(deployment_files(_values(target, model)))
    try:
        changed, kept = _write(folder, own, given)
    except OSError as error:
        raise OperationFailed(
            f"{folder} can't be written: {error}. Name another folder with --to."
        ) from error
    if not is_exported(target, model):
        target.client("s3").put_object(Bucket=target.bucket, Key=_record(model), Body=told)
    return Exported(model.version, model.contract_hash, len(own) + len(given), changed, kept)


def is_exported(target: Target, model: ModelVersion) -> bool:
    """Whether the version was exported, and nobody has taken that back: it may be served elsewhere."""
    return target.documents.find(f"s3://{target.bucket}/{_record(model)}") is not None


def take_back(target: Target, model: ModelVersion) -> bool:
    """Forget that the version was exported; whether it was noted. No folder and no container is touched."""
    found = is_exported(target, model)
    target.client("s3").delete_object(Bucket=target.bucket, Key=_record(model))
    return found


def application() -> dict[str, bytes]:
    """The application's modules, and the API's document, by their path in ``app/``."""
    package = files("dropforge")
    sources = {f"dropforge/{path}": content for path, content in _read(package) if path.endswith(".py")}
    return {
        **what_is_imported([ENTRY], sources),
        "openapi.json": _json(yaml.safe_load(_templates().joinpath("openapi.yaml").read_bytes())),
    }


def deployment_files(values: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The files that are the reader's to change, filled in with `values` of the stack."""
    for path, content in _read(_templates()):
        if path == "openapi.yaml" or path.startswith("requirements/"):
            continue
        text = re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], content.decode())
        # Without the dot, other tools than ours pass over the package's own copies.
        yield re.sub(r"^(github/|dockerignore|checkov)", r".\1", path), text.encode()


# --- inside -------------------------------------------------------------------------------------------


def _refuse_unapproved(model: ModelVersion) -> None:
    if model.approval is not Approval.APPROVED or model.promoted_at is None:
        standing = "was never live" if model.approval is Approval.APPROVED else f"is {model.approval}"
        raise OperationFailed(
            f"Version {model.version} {standing}: only what was approved, deployed and smoke tested is "
            f"exported. 'dropforge approve {model.version}' does that."
        )


def _record(model: ModelVersion) -> str:
    return f"exports/image/v{model.version}.json"


def _as_live(model: ModelVersion, live: Live | None) -> Mapping[str, Any]:
    """What the application says of itself, as the stack's API does of what is live."""
    is_live = live is not None and live.version == model.version
    record = Live(
        version=model.version,
        model_package_arn=model.model_package_arn,
        run_id=model.run_id,
        endpoint_name="",
        endpoint_config="",
        model_name="",
        model_data_url="model.tar.gz",
        model_sha256=model.model_sha256,
        contract_uri="contract.json",
        contract_hash=model.contract_hash,
        profile_uri="",
        smoke_uri="",
        task=model.task,
        metric=model.metric,
        promoted_at=live.promoted_at if live is not None and is_live else str(model.promoted_at),
        token=0,
        previous_version=live.previous_version if live is not None and is_live else None,
    )
    return record.to_dict()


def _contract(target: Target, model: ModelVersion) -> bytes:
    content = _object(target, model.contract_uri, model)
    if Contract.from_json(content).hash != model.contract_hash:
        raise OperationFailed(
            f"{model.contract_uri} is not the contract that version {model.version} was trained on. Restore "
            "the object's first version."
        )
    return content


def _object(target: Target, uri: str, model: ModelVersion) -> bytes:
    ref = ObjectRef.from_uri(uri)
    try:
        answer = target.client("s3").get_object(Bucket=ref.bucket, Key=ref.key)
    except ClientError as error:
        if code_of(error) in ("NoSuchKey", "404", "NotFound"):
            raise NotFound(f"{uri} of version {model.version} is gone: it can't be exported.") from error
        raise
    if answer["ContentLength"] > MAXIMUM_ARCHIVE_BYTES:
        raise OperationFailed(f"{uri} has {answer['ContentLength']} bytes, too many for an image.")
    content: bytes = answer["Body"].read()
    return content


def _requirements(packed: Packed, model: ModelVersion) -> bytes:
    """What is installed, with hashes: the lock's export, with the estimator's libraries if need be."""
    needed = needed_libraries(packed)
    name = "compiled.txt" if needed.keys() <= {"numpy"} else "estimator.txt"
    content = _templates().joinpath("requirements", name).read_bytes()
    pinned = dict(_PINNED.findall(content.decode()))
    others = [f"{each} {version}" for each, version in sorted(needed.items()) if pinned.get(each) != version]
    if others:
        raise OperationFailed(
            f"Version {model.version} was trained with {', '.join(others)}, which this release's image "
            "doesn't carry. Retrain it with this release ('dropforge runs start'), and carry libraries of "
            "your own as wheels (docs/how-to/your-own-model.md)."
        )
    return content


def _values(target: Target, model: ModelVersion) -> dict[str, str]:
    """What the files name of the stack."""
    _, partition, _, region, account, _ = model.model_package_arn.split(":", 5)
    described = stack_description(target) or {}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])}
    short = target.stack.lower()[:50].strip("-")
    return {
        "STACK": target.stack,
        "NAMESPACE": short,
        "REPOSITORY": f"{short}-image",
        "ROLE": f"{short}-image",
        "PARTITION": partition,
        "REGION": region,
        "ACCOUNT": account,
        "SUFFIX": "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
        "PREDICTIONS_TABLE": target.outputs["PredictionsTable"],
        "LEDGER_TABLE": target.outputs["LedgerTable"],
        "RETENTION_DAYS": parameters["PredictionRetentionDays"],
    }


def _write(folder: Path, own: Mapping[str, bytes], given: Mapping[str, bytes]) -> tuple[list[str], list[str]]:
    if (folder / "app").exists() and not (folder / _TOLD).is_file():
        raise OperationFailed(
            f"{folder / 'app'} is none of an export, and would be replaced. Name another folder with --to."
        )
    there = {
        path.relative_to(folder).as_posix(): path
        for top in OWN
        for path in [folder / top, *(folder / top).rglob("*")]
        if path.is_file() and "__pycache__" not in path.parts
    }
    changed, kept = [], []
    for name in there.keys() - own.keys():
        there[name].unlink()
        changed.append(name)
    for name, content in {**given, **own}.items():
        path = folder / name
        found = path.read_bytes() if path.is_file() else None
        if found == content:
            continue
        if found is not None and name in given:
            kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        changed.append(name)
    return sorted(changed), sorted(kept)


def _templates() -> Traversable:
    return files("dropforge_ops").joinpath("image_files")


def _read(folder: Traversable, above: str = "") -> Iterator[tuple[str, bytes]]:
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{above}{each.name}"
        if each.is_dir() and each.name != "__pycache__":
            yield from _read(each, f"{path}/")
        elif each.is_file():
            yield path, each.read_bytes()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
