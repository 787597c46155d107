"""The local host's model server in a container of the local host, asked the same."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.container import Container, Image, Root
from dropforge_local.sagemaker.instance import server_command
from serving_stack.cases import Request, answer_to

_START_S = 60.0


def answers_of_ours(
    model: Path, environment: dict[str, str], network: bool, requests: list[Request]
) -> tuple[list[dict[str, Any]] | None, str]:
    """Serve a model's folder with the local model server: its answers, None if it ends, and its log."""
    with tempfile.TemporaryDirectory(prefix="serving-stack-") as temporary, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = int(listening.getsockname()[1])
        image = Image(sys.executable, [str(Path(sys.executable).parent)], Path(temporary) / "scripts")
        root = Root(Path(temporary) / "root", image.namespaces)
        shutil.copytree(model, root.ml / "model")
        shutil.copytree(model / "code", root.ml / "code")
        container = Container(
            image,
            root,
            server_command(listening.fileno(), isolated=not network),
            environment,
            network=network,
            keep=(listening.fileno(),),
        )
        log: list[bytes] = []
        reader = threading.Thread(target=lambda: log.extend(container.output), daemon=True)
        reader.start()
        try:
            answers = _ask(container, port, requests)
        finally:
            container.kill()
            reader.join(_START_S)
            container.close()
        return answers, b"".join(log).decode(errors="replace")


def _ask(container: Container, port: int, requests: list[Request]) -> list[dict[str, Any]] | None:
    deadline = time.monotonic() + _START_S
    ping = Request("ping", "GET", "/ping")
    while container.wait(0) is None and time.monotonic() < deadline:
        # The kernel accepts before the server does: a short wait notices one that ends instead.
        if answer_to(port, ping.to_dict(), timeout_s=1.0)["status"] == 200:
            return [answer_to(port, request.to_dict()) for request in requests]
    return None
