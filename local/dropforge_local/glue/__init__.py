"""Everything that touches MiniStack's internals: one module per thing that it does otherwise.

MiniStack is pinned exactly, and reached only through ``seams``, which declares every name that is built on:
another version fails at once and says where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.settings import HostSettings


@dataclass
class Installed:
    """What runs once the services' state is restored, before the host stops serving, and at its end.

    The last two run in reverse order. ``saved`` hears, by service, which state has come to the disk.
    """

    starting: list[Callable[[], None]] = field(default_factory=list)
    suspending: list[Callable[[], None]] = field(default_factory=list)
    closing: list[Callable[[], None]] = field(default_factory=list)
    saved: dict[str, Callable[[Any], None]] = field(default_factory=dict)

    def start(self) -> None:
        """Run everything that waited for the restored state."""
        for step in self.starting:
            step()
        self.starting.clear()

    def suspend(self) -> None:
        """Hold what must not notice that the host goes away, such as executions in the middle of a task."""
        while self.suspending:
            self.suspending.pop()()

    def close(self) -> None:
        """End everything."""
        while self.closing:
            self.closing.pop()()


def install(settings: HostSettings) -> Installed:
    """Install every seam into this process. Call it once, before MiniStack serves.

    Raises:
        SeamChanged: MiniStack is not the version that the glue was written for.
    """
    from dropforge_local.glue import (  # noqa: PLC0415
        alarms,
        authorization,
        budgets,
        cloudformation,
        content_types,
        deployment_groups,
        dynamodb_expressions,
        dynamodb_log,
        emf,
        lambda_blobs,
        lambda_execution,
        lambda_queue,
        metric_data,
        rest_api,
        s3_events,
        s3_ranges,
        sagemaker_mount,
        sam_transform,
        schedules,
        seams,
        service_metrics,
        snapshots,
        stream_failures,
        web_firewall,
    )
    from dropforge_local.glue.journal import EmptyJournal, Journal  # noqa: PLC0415
    from dropforge_local.glue.workflow import mount as workflow_mount  # noqa: PLC0415
    from dropforge_local.glue.workflow.tokens import execution_of  # noqa: PLC0415

    seams.check()
    installed = Installed()
    # Of a temporary host nothing is ever restored.
    journal = EmptyJournal() if settings.temporary else Journal(settings.state_dir / "journal.sqlite")
    installed.closing.append(journal.close)
    content_types.install()
    roles = authorization.install(settings, execution_of)
    lambda_blobs.install(settings)
    lambda_execution.install(settings, installed)
    lambda_queue.install(settings, journal, installed)
    stream_failures.install()
    metrics = metric_data.install()
    emf.install(metrics)
    service_metrics.install(metrics, installed)
    alarms.install(metrics, installed)
    schedules.install()
    rest_api.install()
    web_firewall.install()
    deployment_groups.install(settings)
    budgets.install()
    s3_events.install()
    s3_ranges.install()
    sagemaker = sagemaker_mount.install(settings, metrics, authorization.sagemaker_check(roles), installed)
    cloudformation.install(sagemaker, installed)
    sam_transform.install()
    workflow_mount.install(settings, journal, sagemaker, roles, installed)
    dynamodb_expressions.install()
    dynamodb_log.install(journal, installed)
    snapshots.install(settings, installed)
    return installed
