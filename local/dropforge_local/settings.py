"""What the launching process hands to the host process."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HostSettings:
    """Everything the host process needs; it reads nothing else from its surroundings.

    ``listener_fd`` is a bound, listening socket, so that no other process can take the port in between.
    ``lifeline_fd`` is the reading end of a pipe whose writing end the launching process holds: its end of
    file means that the launcher is gone, however it went. ``temporary`` state goes with it.
    """

    state_dir: Path
    unpacked_dir: Path
    port: int
    listener_fd: int
    lifeline_fd: int
    wait_scale: float
    auth: bool
    region: str
    account_id: str
    temporary: bool = False

    def to_json(self) -> str:
        """The settings as one command-line argument."""
        return json.dumps({name: _plain(value) for name, value in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> HostSettings:
        """The settings that ``to_json`` wrote."""
        document: dict[str, Any] = json.loads(text)
        for name in ("state_dir", "unpacked_dir"):
            document[name] = Path(document[name])
        return cls(**document)

    @property
    def temporary_dir(self) -> Path:
        """The host's own folder for temporary files."""
        return self.state_dir / "tmp"

    def environment(self) -> dict[str, str]:
        """The host process's whole environment. Nothing else of the launcher's environment is passed on.

        MiniStack reads its settings from the environment when its modules are imported.
        """
        inherited = {
            name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "HOME") if name in os.environ
        }
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.temporary_dir),
            # MiniStack itself listens on all interfaces unless told.
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "localhost",
            "MINISTACK_REGION": self.region,
            "MINISTACK_ACCOUNT_ID": self.account_id,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AUTH": "true" if self.auth else "false",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.state_dir / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.state_dir / "s3"),
            "SFN_WAIT_SCALE": repr(self.wait_scale),
            "LAMBDA_EXECUTOR": "local",
            # Listeners and daemons that the product doesn't use.
            "IOT_MTLS_ENABLED": "0",
            "IOT_MTLS_PORT": "0",
            "SFTP_ENABLED": "0",
            # No containers, even where a Docker daemon happens to run: MiniStack would reap its containers.
            "DOCKER_HOST": f"unix://{self.state_dir}/no-docker.sock",
            "LOG_LEVEL": "INFO",
        }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
