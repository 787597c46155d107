"""One instance of a training job: its ``/opt/ml``, with what it is told and given, and its container."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.container import Container, Root, SharedNetwork
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.logs import LogPump
from dropforge_local.sagemaker.objects import MissingObjects, Objects, StorageError, split_uri

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


class TrainingHost:
    """An instance, called a host in what its container is told.

    Args:
        document: the job's description.
        folder: its private folder.
        place: which of the job's instances it is, the first is 0.
        ended: is called when its container has ended.
    """

    def __init__(
        self, context: Context, document: dict[str, Any], folder: Path, place: int, ended: Callable[[], None]
    ) -> None:
        self._context = context
        self._document = document
        self._place = place
        self._ended = ended
        self.names = names_of_hosts(document)
        self.name = self.names[place]
        self.root = Root(folder, context.image.namespaces)
        self._running: tuple[Container, LogPump, threading.Thread] | None = None

    def prepare(self, objects: Objects) -> None:
        """Lay out ``/opt/ml``: the folders, the configuration and the channels.

        Raises:
            StorageError: a channel can't be had.
        """
        ml = self.root.ml
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
            (ml / folder).mkdir(parents=True, exist_ok=True)
        for name, content in self._configuration().items():
            (ml / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
        for channel in self._document.get("InputDataConfig", []):
            self._download(objects, channel)

    def _download(self, objects: Objects, channel: dict[str, Any]) -> None:
        source = channel["DataSource"]["S3DataSource"]
        uri = source["S3Uri"]
        folder = self.root.ml / "input" / "data" / channel["ChannelName"]
        is_sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
        shard = (self._place, len(self.names)) if is_sharded else (0, 1)
        try:
            decompress = channel.get("CompressionType") == "Gzip"
            objects.download_prefix(uri, folder, decompress=decompress, shard=shard)
        except MissingObjects as error:
            bucket, _ = split_uri(uri)
            raise StorageError(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that '
                f"the bucket exists in the selected region ({self._context.arns.region}), that objects exist "
                f'under that S3 prefix, and that the role "{self._document["RoleArn"]}" has "s3:ListBucket" '
                f'permissions on bucket "{bucket}".'
            ) from error

    def _configuration(self) -> dict[str, Any]:
        mode = self._document["AlgorithmSpecification"]["TrainingInputMode"]
        instance = self._document["ResourceConfig"]["InstanceType"]
        channels = {}
        for channel in self._document.get("InputDataConfig", []):
            source = channel["DataSource"]["S3DataSource"]
            settings = {
                "TrainingInputMode": channel.get("InputMode", mode),
                "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
                "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            }
            if content_type := channel.get("ContentType"):
                settings = {"ContentType": content_type, **settings}
            channels[channel["ChannelName"]] = settings
        return {
            "hyperparameters": self._document.get("HyperParameters", {}),
            "inputdataconfig": channels,
            "resourceconfig": {
                "current_host": self.name,
                "current_instance_type": instance,
                "current_group_name": "homogeneousCluster",
                "hosts": self.names,
                "instance_groups": [
                    {
                        "instance_group_name": "homogeneousCluster",
                        "instance_type": instance,
                        "hosts": self.names,
                    }
                ],
                "network_interface_name": "eth0",
            },
        }

    # --- the container ---

    def start(
        self, command: list[str], network: SharedNetwork | None, on_line: Callable[[str, float], None]
    ) -> None:
        """Start the entrypoint; each line of its log goes to ``on_line`` too."""
        stream = f"{self._document['TrainingJobName']}/{self.name}-{int(self._context.clock())}"
        container = Container(
            self._context.image,
            self.root,
            command,
            self._environment(),
            network=not self._document.get("EnableNetworkIsolation"),
            shared=network,
        )
        pump = LogPump(
            container.output,
            lambda lines: self._context.ports.put_log(LOG_GROUP, stream, lines),
            clock=self._context.clock,
            flush_s=self._context.limits.log_flush_s,
            on_line=on_line,
        )
        watcher = threading.Thread(target=self._watch, args=(container,), daemon=True)
        self._running = container, pump, watcher
        pump.start()
        watcher.start()

    def _watch(self, container: Container) -> None:
        container.wait()
        self._ended()

    def _environment(self) -> dict[str, str]:
        environment: dict[str, str] = {}
        if not self._document.get("EnableNetworkIsolation"):
            environment |= self._context.ports.environment(self._document["RoleArn"])
        environment |= self._document.get("Environment", {})
        return environment | {
            "TRAINING_JOB_NAME": self._document["TrainingJobName"],
            "TRAINING_JOB_ARN": self._document["TrainingJobArn"],
        }

    @property
    def code(self) -> int | None:
        """The exit code; None while the container runs."""
        return self._container.wait(0)

    @property
    def _container(self) -> Container:
        if self._running is None:
            raise RuntimeError("the container was not started")
        return self._running[0]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._container.terminate()

    def kill(self) -> int:
        """End all of the container's processes. Returns its exit code."""
        self._container.kill()
        code = self._container.wait(None)
        return -1 if code is None else code

    def close(self) -> None:
        """Kill what still runs, and wait for the log's last line."""
        if self._running is None:
            return
        container, pump, watcher = self._running
        container.kill()
        pump.join()
        watcher.join()
        container.close()


def names_of_hosts(document: dict[str, Any]) -> list[str]:
    """The names that SageMaker gives a job's instances."""
    return [f"algo-{number + 1}" for number in range(document["ResourceConfig"].get("InstanceCount", 1))]
