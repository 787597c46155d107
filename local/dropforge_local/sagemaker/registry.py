"""The model registry: groups, their versions, approval, and the events that tell of a change."""

from __future__ import annotations

import json
from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.errors import ServiceError, unsupported, validation
from dropforge_local.sagemaker.events import iso_time
from dropforge_local.sagemaker.model_card import check_card
from dropforge_local.sagemaker.store import Query, Resource, Transaction
from dropforge_local.sagemaker.validation import shaped, timestamp

GROUP = "model-package-group"
PACKAGE = "model-package"
EVENT = "SageMaker Model Package State Change"
_MAX_METADATA = 50  # CustomerMetadataProperties: the shape's own bound, held after merging too
_SUMMARY = (
    "ModelPackageName",
    "ModelPackageGroupName",
    "ModelPackageVersion",
    "ModelPackageArn",
    "ModelPackageDescription",
    "CreationTime",
    "ModelPackageStatus",
    "ModelApprovalStatus",
    "ModelLifeCycle",
    "ModelPackageRegistrationType",
)


class Registry:
    """Model package groups and model packages of one service."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # --- groups ---

    def create_group(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateModelPackageGroup."""
        name = request["ModelPackageGroupName"]
        if request.get("ManagedConfiguration"):
            raise unsupported("ManagedConfiguration")
        arn = self._context.arns.of(GROUP, name)
        now = self._context.clock()
        document = {
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupDescription": request.get("ModelPackageGroupDescription"),
            "CreationTime": now,
            "CreatedBy": {},
            "ModelPackageGroupStatus": "Completed",
        }
        with self._context.store.transaction() as tx:
            if tx.get(GROUP, name) is not None:
                raise validation(f"Model Package Group already exists: {arn}")
            tx.put(Resource(GROUP, name, arn, document), created=now, modified=now, status="Completed")
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeModelPackageGroup."""
        with self._context.store.transaction() as tx:
            group = self._group(tx, request["ModelPackageGroupName"])
        return shaped("DescribeModelPackageGroup", group.document)

    def list_groups(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListModelPackageGroups."""
        with self._context.store.transaction() as tx:
            found, token = tx.page(Query.requested(GROUP, request, order="Ascending"))
        members = (
            "ModelPackageGroupName",
            "ModelPackageGroupArn",
            "ModelPackageGroupDescription",
            "CreationTime",
            "ModelPackageGroupStatus",
        )
        summaries = [_select(group.document, members) for group in found]
        return {"ModelPackageGroupSummaryList": summaries} | ({"NextToken": token} if token else {})

    def delete_group(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteModelPackageGroup; a group that holds versions is refused."""
        with self._context.store.transaction() as tx:
            group = self._group(tx, request["ModelPackageGroupName"])
            versions, _ = tx.page(Query(PACKAGE, parent=group.name.lower(), limit=1))
            if versions:
                raise ServiceError(
                    "ConflictException",
                    "Model Package Group cannot be deleted because it still contains Model Packages.",
                )
            tx.delete(GROUP, group.name)
        return {}

    # --- versions ---

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateModelPackage: the group's next version. The same ClientToken yields the same version."""
        _check_package(request)
        with self._context.store.transaction() as tx:
            group = self._group(tx, request["ModelPackageGroupName"])
            fingerprint = json.dumps({**request, "ClientToken": None}, sort_keys=True, default=str)
            if (token := request.get("ClientToken")) and (
                arn := self._already_made(tx, group, token, fingerprint)
            ):
                return {"ModelPackageArn": arn}
            now = self._context.clock()
            version = tx.next_number(f"{group.arn}@{group.document['CreationTime']}")
            name = f"{group.name}/{version}"
            arn = self._context.arns.of(PACKAGE, name)
            document = {
                key: value
                for key, value in request.items()
                if key not in ("Tags", "ClientToken", "ModelPackageName")
            } | {
                "ModelPackageGroupName": group.name,
                "ModelPackageVersion": version,
                "ModelPackageArn": arn,
                "CreationTime": now,
                "LastModifiedTime": now,
                "ModelPackageStatus": "Completed",
                "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
                "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
                "ModelPackageRegistrationType": request.get("ModelPackageRegistrationType", "Registered"),
                "SkipModelValidation": request.get("SkipModelValidation", "None"),
                "CertifyForMarketplace": False,
                "CreatedBy": {},
                "LastModifiedBy": {},
                "_ClientToken": token,
                "_Fingerprint": fingerprint,
            }
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
            self._put(tx, name, document, updated=None)
        return {"ModelPackageArn": arn}

    def _already_made(self, tx: Transaction, group: Resource, token: str, fingerprint: str) -> str | None:
        found, _ = tx.page(
            Query(PACKAGE, parent=group.name.lower(), members={"_ClientToken": token}, limit=1)
        )
        if not found:
            return None
        if found[0].document["_Fingerprint"] != fingerprint:
            raise ServiceError(
                "ConflictException",
                f"The ClientToken {token} was used with other parameters for {found[0].arn}.",
            )
        return found[0].arn

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeModelPackage, by ARN or by ``group/version``."""
        with self._context.store.transaction() as tx:
            return shaped("DescribeModelPackage", self.find(tx, request["ModelPackageName"]).document)

    def list_page(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListModelPackages. All packages here are versioned, so a list of unversioned ones is empty.

        Without a group that is what SageMaker lists by default.
        """
        unversioned = None if request.get("ModelPackageGroupName") else "Unversioned"
        if request.get("ModelPackageType", unversioned) == "Unversioned":
            return {"ModelPackageSummaryList": []}
        parent = None
        members = {}
        if status := request.get("ModelApprovalStatus"):
            members["ModelApprovalStatus"] = status
        with self._context.store.transaction() as tx:
            if group := request.get("ModelPackageGroupName"):
                parent = self._group(tx, group).name.lower()
            # A version's number is its name within the group; "10" follows "9".
            by_name = "Version" if parent is not None else "Name"
            found, token = tx.page(
                Query(
                    PACKAGE,
                    parent=parent,
                    name_contains=request.get("NameContains"),
                    created_after=timestamp(request.get("CreationTimeAfter")),
                    created_before=timestamp(request.get("CreationTimeBefore")),
                    members=members,
                    sort_by=by_name if request.get("SortBy") == "Name" else "CreationTime",
                    descending=request.get("SortOrder", "Ascending") == "Descending",
                    limit=request.get("MaxResults", 10),
                    next_token=request.get("NextToken"),
                )
            )
        summaries = [_select(package.document, _SUMMARY) for package in found]
        return {"ModelPackageSummaryList": summaries} | ({"NextToken": token} if token else {})

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        """UpdateModelPackage: what the request names changes, and an event names what changed."""
        with self._context.store.transaction() as tx:
            package = self.find(tx, request["ModelPackageArn"])
            document = package.document
            token = request.get("ClientToken")
            if token and document.get("_UpdateToken") == token:
                return {"ModelPackageArn": package.arn}
            updated = _apply(document, request)
            if not updated:
                raise validation("At least one field of the model package must be updated.")
            document["_UpdateToken"] = token
            document["LastModifiedTime"] = self._context.clock()
            self._put(tx, package.name, document, updated=updated)
        return {"ModelPackageArn": package.arn}

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteModelPackage. Its version number is not used again."""
        with self._context.store.transaction() as tx:
            tx.delete(PACKAGE, self.find(tx, request["ModelPackageName"]).name)
        return {}

    # --- inside ---

    def find(self, tx: Transaction, name_or_arn: str) -> Resource:
        """The version that an ARN or ``group/version`` names.

        Raises:
            ServiceError: there is none.
        """
        name = name_or_arn
        if name.startswith("arn:"):
            kind, name = self._context.arns.parse(name)
            if kind != PACKAGE:
                raise validation(f"Invalid model package ARN: {name_or_arn}")
        package = tx.get(PACKAGE, name)
        if package is None:
            raise validation(f"ModelPackage {self._context.arns.of(PACKAGE, name)} does not exist.")
        return package

    def _group(self, tx: Transaction, name_or_arn: str) -> Resource:
        name = name_or_arn
        if name.startswith("arn:"):
            kind, name = self._context.arns.parse(name)
            if kind != GROUP:
                raise validation(f"Invalid model package group ARN: {name_or_arn}")
        group = tx.get(GROUP, name)
        if group is None:
            raise validation(f"ModelPackageGroup {self._context.arns.of(GROUP, name)} does not exist.")
        return group

    def _put(self, tx: Transaction, name: str, document: dict[str, Any], updated: list[str] | None) -> None:
        arn = document["ModelPackageArn"]
        tx.put(
            Resource(PACKAGE, name, arn, document),
            created=document["CreationTime"],
            modified=document["LastModifiedTime"],
            status=document["ModelApprovalStatus"],
            parent=document["ModelPackageGroupName"].lower(),
            version=document["ModelPackageVersion"],
        )
        detail = shaped("DescribeModelPackage", document)
        for member in ("CreationTime", "LastModifiedTime"):
            detail[member] = iso_time(detail[member])
        # The card's content is sensitive by the service description, and may be larger than an event.
        detail.pop("ModelCard", None)
        detail["Tags"] = tx.tags(arn)
        if updated is not None:
            detail["UpdatedModelPackageFields"] = updated
        tx.emit(EVENT, detail, [arn])


def _select(document: dict[str, Any], members: tuple[str, ...]) -> dict[str, Any]:
    return {member: document[member] for member in members if document.get(member) is not None}


def _check_package(request: dict[str, Any]) -> None:
    if not request.get("ModelPackageGroupName"):
        raise unsupported("unversioned model packages; give a ModelPackageGroupName")
    if request.get("ModelPackageName"):
        raise validation("ModelPackageName and ModelPackageGroupName can't both be given.")
    for member in ("ValidationSpecification", "SourceAlgorithmSpecification", "CertifyForMarketplace"):
        if request.get(member):
            raise unsupported(member)
    if not request.get("InferenceSpecification") and not request.get("SourceUri"):
        raise validation("InferenceSpecification or SourceUri is required.")
    check_card(request.get("ModelCard"))


def _apply(document: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """Change the document as the request says; returns the names of the members that were updated."""
    updated = []
    for member in (
        "ModelApprovalStatus",
        "ApprovalDescription",
        "InferenceSpecification",
        "SourceUri",
        "ModelLifeCycle",
        "ModelPackageRegistrationType",
    ):
        if request.get(member) is not None:
            document[member] = request[member]
            updated.append(member)
    if (card := request.get("ModelCard")) is not None:
        check_card(card, document.get("ModelCard"))
        document["ModelCard"] = {**document.get("ModelCard", {}), **card}
        updated.append("ModelCard")
    added = request.get("CustomerMetadataProperties")
    removed = request.get("CustomerMetadataPropertiesToRemove")
    if added is not None or removed is not None:
        merged = {**document.get("CustomerMetadataProperties", {}), **(added or {})}
        for key in removed or []:
            merged.pop(key, None)
        if len(merged) > _MAX_METADATA:
            raise validation(f"CustomerMetadataProperties may hold at most {_MAX_METADATA} entries.")
        document["CustomerMetadataProperties"] = merged
        updated.append("CustomerMetadataProperties")
    if more := request.get("AdditionalInferenceSpecificationsToAdd"):
        kept = document.get("AdditionalInferenceSpecifications", [])
        names = [item["Name"] for item in [*kept, *more]]
        if len(set(names)) != len(names):
            raise validation("The names of AdditionalInferenceSpecifications must be unique.")
        document["AdditionalInferenceSpecifications"] = [*kept, *more]
        updated.append("AdditionalInferenceSpecifications")
    return updated
