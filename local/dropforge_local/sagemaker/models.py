"""Models and endpoint configurations: descriptions that a deployment is made of."""

from __future__ import annotations

from typing import Any

from dropforge_local.sagemaker.context import Context, check_image, check_isolation
from dropforge_local.sagemaker.errors import unsupported, validation
from dropforge_local.sagemaker.objects import StorageError
from dropforge_local.sagemaker.registry import Registry
from dropforge_local.sagemaker.store import Query, Resource, Transaction
from dropforge_local.sagemaker.validation import shaped

MODEL = "model"
CONFIG = "endpoint-config"
_REFUSED_OF_CONTAINER = (
    "MultiModelConfig",
    "ImageConfig",
    "InferenceSpecificationName",
    "AdditionalModelDataSources",
)
# EnableNetworkIsolation of a configuration is that of inference components; a model has its own.
_REFUSED_OF_CONFIG = (
    "ExplainerConfig",
    "ShadowProductionVariants",
    "EnableNetworkIsolation",
)
_REFUSED_OF_VARIANT = (
    "AcceleratorType",
    "CoreDumpConfig",
    "ManagedInstanceScaling",
    "CapacityReservationConfig",
)


class Models:
    """Models and endpoint configurations of one service."""

    def __init__(self, context: Context, registry: Registry) -> None:
        self._context = context
        self._registry = registry

    # --- models ---

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateModel: one container with the scikit-learn image, its archive in S3 already."""
        check_isolation(self._context, request.get("EnableNetworkIsolation"))
        name = request["ModelName"]
        arn = self._context.arns.of(MODEL, name)
        container = self._resolve(_only_container(request))
        self._check_data(container)
        now = self._context.clock()
        document = {key: value for key, value in request.items() if key != "Tags"} | {
            "ModelArn": arn,
            "CreationTime": now,
            "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            "_Container": container,
        }
        with self._context.store.transaction() as tx:
            if tx.get(MODEL, name) is not None:
                raise validation(f'Cannot create already existing model "{arn}".')
            tx.put(Resource(MODEL, name, arn, document), created=now, modified=now)
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
        return {"ModelArn": arn}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeModel."""
        with self._context.store.transaction() as tx:
            return shaped("DescribeModel", self._find(tx, MODEL, request["ModelName"]).document)

    def list_page(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListModels."""
        found, token = self._page(MODEL, request)
        models = [
            {member: item.document[member] for member in ("ModelName", "ModelArn", "CreationTime")}
            for item in found
        ]
        return {"Models": models} | ({"NextToken": token} if token else {})

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteModel. Endpoints that run it keep running, restarts of the host included."""
        with self._context.store.transaction() as tx:
            tx.delete(MODEL, self._find(tx, MODEL, request["ModelName"]).name)
        return {}

    # --- configurations ---

    def create_config(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateEndpointConfig."""
        name = request["EndpointConfigName"]
        arn = self._context.arns.of(CONFIG, name)
        _check_config(request)
        now = self._context.clock()
        variants = [
            {"InitialVariantWeight": 1.0, **variant}
            if "ServerlessConfig" in variant
            else {"InitialVariantWeight": 1.0, "InitialInstanceCount": 1, **variant}
            for variant in request["ProductionVariants"]
        ]
        document = {key: value for key, value in request.items() if key != "Tags"} | {
            "EndpointConfigArn": arn,
            "CreationTime": now,
            "ProductionVariants": variants,
        }
        with self._context.store.transaction() as tx:
            if tx.get(CONFIG, name) is not None:
                raise validation(f'Cannot create already existing endpoint configuration "{arn}".')
            for variant in variants:
                model = self._find(tx, MODEL, variant["ModelName"])
                if "ServerlessConfig" in variant and (
                    model.document["EnableNetworkIsolation"] or model.document.get("VpcConfig")
                ):
                    raise validation("Serverless endpoints don't support network isolation or a VPC.")
            tx.put(Resource(CONFIG, name, arn, document), created=now, modified=now)
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
        return {"EndpointConfigArn": arn}

    def describe_config(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeEndpointConfig."""
        with self._context.store.transaction() as tx:
            found = self._find(tx, CONFIG, request["EndpointConfigName"])
        return shaped("DescribeEndpointConfig", found.document)

    def list_configs(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListEndpointConfigs."""
        found, token = self._page(CONFIG, request)
        members = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        configs = [{member: item.document[member] for member in members} for item in found]
        return {"EndpointConfigs": configs} | ({"NextToken": token} if token else {})

    def delete_config(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteEndpointConfig. Endpoints made of it keep running."""
        with self._context.store.transaction() as tx:
            tx.delete(CONFIG, self._find(tx, CONFIG, request["EndpointConfigName"]).name)
        return {}

    def snapshot(self, tx: Transaction, config_name: str) -> dict[str, Any]:
        """All that a fleet is made of: the variants of a configuration with their models.

        Kept with the endpoint, so that deleting the configuration or a model doesn't touch what runs.
        """
        config = self._find(tx, CONFIG, config_name).document
        variants = []
        for variant in config["ProductionVariants"]:
            variants.append({**variant, **self.served(tx, variant["ModelName"])})
        kept = {"EndpointConfigName": config["EndpointConfigName"], "ProductionVariants": variants}
        asynchronous = config.get("AsyncInferenceConfig")
        return kept | ({"AsyncInferenceConfig": asynchronous} if asynchronous else {})

    def served(self, tx: Transaction, model_name: str) -> dict[str, Any]:
        """What a model server is made of: the model's container, role and isolation, as they are now."""
        model = self._find(tx, MODEL, model_name).document
        return {
            "_Container": model["_Container"],
            "_RoleArn": model.get("ExecutionRoleArn", ""),
            "_Isolated": model["EnableNetworkIsolation"],
        }

    # --- inside ---

    def _find(self, tx: Transaction, kind: str, name: str) -> Resource:
        found = tx.get(kind, name)
        if found is None:
            noun = "model" if kind == MODEL else "endpoint configuration"
            raise validation(f'Could not find {noun} "{self._context.arns.of(kind, name)}".')
        return found

    def _page(self, kind: str, request: dict[str, Any]) -> tuple[list[Resource], str | None]:
        with self._context.store.transaction() as tx:
            return tx.page(Query.requested(kind, request))

    def _resolve(self, container: dict[str, Any]) -> dict[str, Any]:
        """The container with what a model package says of it filled in."""
        package_name = container.get("ModelPackageName")
        if package_name:
            with self._context.store.transaction() as tx:
                package = self._registry.find(tx, package_name).document
            if package["ModelApprovalStatus"] != "Approved":
                raise validation(
                    f"Model package {package['ModelPackageArn']} is {package['ModelApprovalStatus']}; "
                    "only an Approved model package can be deployed."
                )
            described = package.get("InferenceSpecification", {}).get("Containers", [])
            if len(described) != 1:
                raise unsupported("model packages with other than one container")
            environment = {**described[0].get("Environment", {}), **container.get("Environment", {})}
            container = {**described[0], **container, "Environment": environment}
        for member in _REFUSED_OF_CONTAINER:
            if container.get(member):
                raise unsupported(f"{member} of a model's container")
        if container.get("Mode", "SingleModel") != "SingleModel":
            raise unsupported("multi-model containers")
        check_image(container.get("Image"), "the model's container")
        return container

    def _check_data(self, container: dict[str, Any]) -> None:
        location = data_location(container)
        if location is None:
            return
        uri, archive = location
        objects = self._context.objects()
        try:
            there = objects.exists(uri) if archive else bool(objects.keys(uri))
        except StorageError as error:
            raise validation(f"Could not access model data at {uri}: {error}") from error
        if not there:
            raise validation(f"Could not find model data at {uri}.")


def data_location(container: dict[str, Any]) -> tuple[str, bool] | None:
    """Where a container's model is, and whether it is one archive or else a prefix; None without one."""
    if url := container.get("ModelDataUrl"):
        return url, True
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return None
    archive = source["CompressionType"] == "Gzip"
    if archive != (source["S3DataType"] == "S3Object"):
        raise validation("S3DataType S3Object goes with CompressionType Gzip, S3Prefix with None.")
    return source["S3Uri"], archive


def _only_container(request: dict[str, Any]) -> dict[str, Any]:
    primary, containers = request.get("PrimaryContainer"), request.get("Containers") or []
    if (primary is None) == (not containers):
        raise validation("Exactly one of PrimaryContainer and Containers is required.")
    if len(containers) > 1:
        raise unsupported("inference pipelines: a model has one container")
    return dict(primary if primary is not None else containers[0])


def _check_config(request: dict[str, Any]) -> None:
    for member in _REFUSED_OF_CONFIG:
        if request.get(member):
            raise unsupported(member)
    if request.get("DataCaptureConfig", {}).get("EnableCapture"):
        raise unsupported("DataCaptureConfig")
    asynchronous = request.get("AsyncInferenceConfig")
    if asynchronous and asynchronous["OutputConfig"].get("NotificationConfig"):
        raise unsupported("NotificationConfig of AsyncInferenceConfig")
    variants = request["ProductionVariants"]
    if asynchronous and (len(variants) > 1 or variants[0].get("ServerlessConfig")):
        raise validation("An asynchronous endpoint has one variant, with instances.")
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) != len(names):
        raise validation("The names of production variants must be unique.")
    serverless = [variant for variant in variants if variant.get("ServerlessConfig")]
    if serverless and (len(variants) > 1 or request.get("VpcConfig")):
        raise validation("A serverless endpoint has one variant and no VPC.")
    if sum(variant.get("InitialVariantWeight", 1.0) for variant in variants) <= 0:
        raise validation("At least one production variant needs a weight above 0.")
    for variant in variants:
        _check_variant(variant)


def _check_variant(variant: dict[str, Any]) -> None:
    name = variant["VariantName"]
    for member in _REFUSED_OF_VARIANT:
        if variant.get(member):
            raise unsupported(f"{member} (variant {name})")
    if not variant.get("ModelName"):
        raise unsupported(f"inference components: variant {name} has no ModelName")
    serverless = variant.get("ServerlessConfig")
    if serverless is None:
        if not variant.get("InstanceType"):
            raise validation(f"Variant {name} needs an InstanceType or a ServerlessConfig.")
        return
    if variant.get("InstanceType") or variant.get("InitialInstanceCount"):
        raise validation(f"Variant {name} can't have both a ServerlessConfig and instances.")
    if serverless["MemorySizeInMB"] % 1024:
        raise validation(f"MemorySizeInMB of variant {name} must be 1024, 2048, 3072, 4096, 5120 or 6144.")
    if serverless.get("ProvisionedConcurrency", 0) > serverless["MaxConcurrency"]:
        raise validation(f"ProvisionedConcurrency of variant {name} exceeds its MaxConcurrency.")
