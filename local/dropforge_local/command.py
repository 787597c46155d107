"""``dropforge-local``: deploy a SAM application's template on a local AWS, and keep that running.

It needs the extra ``host``. Programs and tests use ``dropforge_local.host.LocalHost`` instead.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from dropforge_local.api_urls import local_api_url
from dropforge_local.errors import LocalHostError
from dropforge_local.host import LocalHost


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; 1 where the host can't start or the template can't be deployed."""
    asked = _parser().parse_args(arguments)
    folder: Path = asked.folder.resolve()
    # Like Ctrl-C, so that the host ends cleanly.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalHost(
            folder,
            state_dir=asked.state_dir or folder / ".dropforge" / "state",
            port=asked.port,
            wait_scale=asked.wait_scale,
            auth=asked.auth,
            announce=True,
        ) as host:
            outputs = host.deploy(asked.stack_name or stack_name_of(folder.name), dict(asked.parameter))
            print("\n".join(_told(host, outputs)), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except LocalHostError as error:
        print(f"dropforge-local: {error}", file=sys.stderr)
        return 1
    return 0


def stack_name_of(folder: str) -> str:
    """A name that CloudFormation takes.

    >>> stack_name_of("my_app 2"), stack_name_of("2nd.try"), stack_name_of("_")
    ('my-app-2', 'app-2nd-try', 'app')
    """
    words = [word for word in re.split(r"[^a-zA-Z0-9]+", folder) if word]
    return "-".join(words if words and words[0][0].isalpha() else ["app", *words])


def _told(host: LocalHost, outputs: dict[str, str]) -> list[str]:
    """What to print: how any AWS client reaches the host, and the stack's outputs as they answer here."""
    here = {name: local_api_url(value, host.endpoint_url) for name, value in outputs.items()}
    return [
        f"export AWS_ENDPOINT_URL={host.endpoint_url} AWS_REGION={host.region} "
        "AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test",
        *(f"{name}: {value}" for name, value in here.items()),
        "Ctrl-C stops the host; its state stays and is there again at the next start.",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dropforge-local",
        description="Deploy a SAM application's template.yaml on a local AWS, and keep it running.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="the application's (default: here)"
    )
    parser.add_argument("--stack-name", help="default: made of the folder's name")
    parser.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="may be repeated",
    )
    parser.add_argument("--port", type=int, default=4566, help="0 for a free one (default: %(default)s)")
    parser.add_argument("--state-dir", type=Path, help="default: FOLDER/.dropforge/state")
    parser.add_argument(
        "--wait-scale", type=float, default=1.0, help="factor on Wait states and retry intervals (default: 1)"
    )
    parser.add_argument("--auth", action="store_true", help="enforce the policies of roles")
    parser.add_argument(
        "--version", action="version", version=f"dropforge-local {version('dropforge-local')}"
    )
    return parser


def _parameter(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not (name and given):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
