"""Runs MiniStack with the glue installed, on the listening socket that the launcher bound on loopback."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import app
from dropforge_local.settings import HostSettings

if TYPE_CHECKING:
    from dropforge_local.glue import Installed

# A shutdown that hangs must not leave a process behind once its launcher is gone.
_LAST_RESORT_S = 10.0
_launcher_gone = threading.Event()


def run(settings: HostSettings) -> None:
    """Serve until SIGTERM, SIGINT, or until the launching process is gone."""
    shutil.rmtree(settings.temporary_dir, ignore_errors=True)
    settings.temporary_dir.mkdir(parents=True)
    tempfile.tempdir = str(settings.temporary_dir)
    threading.Thread(target=_watch_launcher, args=(settings.lifeline_fd,), daemon=True).start()
    _raise_file_limit()

    gc.disable()  # imports leave next to nothing to collect, and looking for it takes a tenth of the start
    from dropforge_local.glue import install  # noqa: PLC0415 - MiniStack reads the environment when imported

    installed = install(settings)
    gc.freeze()
    gc.enable()
    try:
        asyncio.run(_serve(settings, installed))
    finally:
        installed.close()
        shutil.rmtree(settings.temporary_dir, ignore_errors=True)
        if settings.temporary and _launcher_gone.is_set():
            shutil.rmtree(settings.state_dir, ignore_errors=True)
        # Non-daemon threads of a service must not keep a stopped host alive.
        sys.stdout.flush()
        os._exit(0)


async def _serve(settings: HostSettings, installed: Installed) -> None:
    from hypercorn.asyncio import serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    config.bind = [f"fd://{settings.listener_fd}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.5
    config.shutdown_timeout = 5.0
    config.accesslog = None

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def send_once_started(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                # The services' state has been restored; nothing is served yet.
                await asyncio.to_thread(installed.start)
            await send(message)

        await app.app(scope, receive, send_once_started if scope["type"] == "lifespan" else send)

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signalled, ended.set)

    async def until_ended() -> None:
        await ended.wait()
        await asyncio.to_thread(installed.suspend)

    await serve(application, config, shutdown_trigger=until_ended)


def _watch_launcher(lifeline_fd: int) -> None:
    """End this process when the launcher has ended, cleanly at first."""
    while os.read(lifeline_fd, 1):
        pass
    _launcher_gone.set()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_LAST_RESORT_S)
    os._exit(1)


def _raise_file_limit() -> None:
    """A burst of connections and worker pipes passes the usual soft limit of 1024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
