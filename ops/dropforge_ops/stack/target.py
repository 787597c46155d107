"""Which host and which stack a command talks to, and boto3 clients for them."""

from __future__ import annotations

import getpass
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from dropforge.ledger_table.calls import ClientCalls
from dropforge.ledger_table.reader import LedgerReader
from dropforge_local.announcement import is_alive
from dropforge_local.api_urls import local_api_url
from dropforge_ops.errors import NotFound, Unreachable, message_of
from dropforge_ops.stack.documents import Documents

DEFAULT_STACK: Final = "dropforge"
ANNOUNCEMENT: Final = Path(".dropforge") / "local.json"

# GetExecutionHistory refills at 5 requests a second in the smaller regions:
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_AWS_POLL_S = 1.0
# Each look costs the host a few milliseconds of a processor that training shares.
_LOCAL_POLL_S = 0.1
_LOCAL_REGION = "us-east-1"


@dataclass(frozen=True)
class Options:
    """What the user said about the host: None where nothing was said."""

    stack: str | None = None
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None


@dataclass(frozen=True)
class Announced:
    """A local host that runs, as it announced itself."""

    endpoint_url: str
    region: str
    stack_name: str | None
    api_url: str | None
    outputs: Mapping[str, str]
    path: Path


# CloudFormation gives a stack its outputs when all of it is there.
_BEING_MADE = ("REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS")


@dataclass(frozen=True)
class Target:
    """A host (AWS, or a local one) and a stack on it.

    ``known_outputs`` are the stack's outputs where they are known without asking.
    """

    stack: str
    session: Any
    endpoint_url: str | None = None
    known_outputs: Mapping[str, str] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)
    # A session makes one client at a time: https://docs.aws.amazon.com/boto3/latest/guide/session.html
    _making: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether the host is on this machine."""
        return self.endpoint_url is not None and _is_loopback(self.endpoint_url)

    @property
    def poll_s(self) -> float:
        """Seconds between two looks at something that changes."""
        return _LOCAL_POLL_S if self.is_local else _AWS_POLL_S

    @property
    def host(self) -> str:
        """The host's name in messages."""
        if self.endpoint_url is not None:
            return f"the local host {self.endpoint_url}" if self.is_local else self.endpoint_url
        return f"AWS ({self.session.region_name})"

    def client(self, service: str) -> Any:
        """The boto3 client of a service on this host; made once, and shared among threads."""
        with self._making:
            if service not in self._clients:
                self._clients[service] = self.session.client(
                    service, endpoint_url=self.endpoint_url, config=self._config
                )
            return self._clients[service]

    @cached_property
    def ledger(self) -> LedgerReader:
        """The stack's ledger."""
        return LedgerReader(ClientCalls(self.client("dynamodb")), self.outputs["LedgerTable"])

    @cached_property
    def documents(self) -> Documents:
        """The JSON documents in the stack's bucket."""
        return Documents(self.client("s3"))

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs.

        Raises:
            NotFound: there is no such stack, or it is none of dropforge's.
        """
        found = dict(self.known_outputs) or self._described_outputs()
        missing = sorted({"DataBucket", "LedgerTable", "TrainingStateMachine"} - found.keys())
        if missing:
            raise NotFound(
                f"The stack {self.stack!r} on {self.host} has no output {', '.join(missing)}: it was not "
                "deployed from dropforge's template, or isn't complete. Name another with --stack."
            )
        return found

    @property
    def bucket(self) -> str:
        """The data bucket."""
        return self.outputs["DataBucket"]

    @property
    def api_url(self) -> str:
        """Where the prediction API answers, without a slash at the end."""
        url = self.outputs["ApiUrl"]
        return url if self.endpoint_url is None else local_api_url(url, self.endpoint_url)

    def resource(self, logical_id: str) -> str:
        """The physical id of one of the template's resources: such as a function's name."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=self.stack, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    @property
    def caller(self) -> str:
        """Who acts: the AWS identity, or on a local host the operating system's user."""
        if self.is_local:
            return f"{getpass.getuser()}@localhost"
        # Customer metadata of a model package takes 256 characters.
        return str(self.client("sts").get_caller_identity()["Arn"])[:256]

    @property
    def _config(self) -> Config:
        if not self.is_local:
            return Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10)
        return Config(
            retries={"total_max_attempts": 2},
            s3={"addressing_style": "path"},
            proxies={},
            connect_timeout=5,
            read_timeout=120,
        )

    def _described_outputs(self) -> dict[str, str]:
        found = stack_description(self)
        being_made = found is not None and found.get("StackStatus") in _BEING_MADE
        if being_made or (found is None and self.is_local):
            raise NotFound(
                f"The stack {self.stack!r} on {self.host} is not deployed yet. Where 'dropforge up' is still "
                "deploying, wait for its summary and try again; otherwise name another with --stack."
            )
        if found is None:
            raise NotFound(
                f"There is no stack {self.stack!r} on {self.host}. Deploy one ('make deploy', or 'dropforge "
                "up' for this machine), or name another with --stack, --region or --profile."
            )
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def stack_description(target: Target) -> dict[str, Any] | None:
    """What CloudFormation says of the stack: state, parameters, outputs; None where there is none."""
    try:
        stacks = target.client("cloudformation").describe_stacks(StackName=target.stack)["Stacks"]
    except ClientError as error:
        if "does not exist" not in message_of(error):
            raise
        return None
    return dict(stacks[0]) if stacks else None


def resolve(options: Options, *, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Target:
    """Find the host and stack that a command is meant for.

    An endpoint URL, a profile or a region that the user names (as an option or in AWS's environment
    variables for profile and endpoint) wins; then a local host that runs for the current folder or one of
    its parents; then AWS with the user's credentials, unless a host ran here and is gone: what was meant for
    it does not go to AWS.

    Raises:
        Unreachable: see `find_announced`.
        NoCredentialsError: there is no local host, and nobody has signed in to AWS.
    """
    env = os.environ if env is None else env
    named = options.endpoint_url or options.profile or options.region
    from_env = env.get("AWS_PROFILE") or env.get("AWS_ENDPOINT_URL")
    if not named and not from_env:
        announced = find_announced(folder or Path.cwd())
        if announced is not None:
            return on_local_host(announced, options.stack)
    endpoint_url = options.endpoint_url or env.get("AWS_ENDPOINT_URL") or None
    session = boto3.Session(profile_name=options.profile, region_name=options.region)
    if endpoint_url is not None and _is_loopback(endpoint_url) and session.get_credentials() is None:
        session = _local_session(options.region or session.region_name or _LOCAL_REGION)
    elif session.get_credentials() is None:
        raise NoCredentialsError
    return Target(options.stack or DEFAULT_STACK, session, endpoint_url)


def on_local_host(announced: Announced, stack: str | None = None) -> Target:
    """The stack on a local host that was announced."""
    name = stack or announced.stack_name or DEFAULT_STACK
    return Target(
        stack=name,
        session=_local_session(announced.region),
        endpoint_url=announced.endpoint_url,
        known_outputs=announced.outputs if name == announced.stack_name else {},
    )


def find_announced(folder: Path) -> Announced | None:
    """The local host that runs for a folder or the nearest of its parents.

    Raises:
        Unreachable: the announcement can't be read, or the host that announced itself is gone.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        path = place / ANNOUNCEMENT
        if path.is_file():
            found = _announced(path)
            if found is not None:
                return found
    return None


def _announced(path: Path) -> Announced | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        pid = int(document["pid"])
        found = Announced(
            endpoint_url=document["endpoint_url"],
            region=document["region"],
            stack_name=document.get("stack_name"),
            api_url=document.get("api_url"),
            outputs=document.get("outputs") or {},
            path=path,
        )
    except FileNotFoundError:
        return None  # withdrawn between the look and the read
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"{path} can't be read ({error}). Restart 'dropforge up', or delete the file."
        ) from error
    if not is_alive(pid):
        raise Unreachable(
            f"The local host that {path} announces (process {pid}) is gone. Start it again with 'dropforge "
            "up'. For AWS, name it: --profile or --region (or AWS_PROFILE), or delete the file."
        )
    if not _is_loopback(found.endpoint_url):
        raise Unreachable(
            f"{path} names {found.endpoint_url}, which is not on this machine. Delete the file."
        )
    return found


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local_session(region: str) -> Any:
    return boto3.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local host accepts any; it guards nothing
        region_name=region,
    )
