"""The image that functions run in: AWS's own, or one in its shape made of what this machine has.

Where no image registry can be reached, the root file system is put together from this machine's CPython and
its libraries, awslambdaric and boto3, busybox, and the runtime emulator that comes with aws-sam-cli.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

from sam_local.engine import Engine, NoEngine, output_of

NAME = "public.ecr.aws/lambda/python:3.12-x86_64"
"""Where `sam local invoke` looks for the runtime of an x86_64 function."""

RUNTIME_PACKAGES = ("awslambdaric==4.2.2", f"boto3=={importlib.metadata.version('boto3')}")
_PULL_S = 300.0

# What a Lambda's interpreter needs nothing of.
_LEFT_OUT = shutil.ignore_patterns(
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"),
    *("__pycache__", "config-3*", "_test*.so", "_tkinter*.so", "*.a"),
)
# Loaded by name at run time, so that no program's list of libraries has them.
_BY_NAME = re.compile(
    r"\s(libnss_(dns|files)|libresolv|libstdc\+\+|libgcc_s|libpthread|libdl|librt|libutil)[.]so[.]"
)
_ENVIRONMENT = {
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "LD_LIBRARY_PATH": (
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
    ),
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LANG": "C.UTF-8",
    "TZ": ":/etc/localtime",
}
_ENTRYPOINT = """#!/bin/sh
export _HANDLER="$1"
if [ -z "$AWS_LAMBDA_RUNTIME_API" ]; then
  exec /usr/local/bin/aws-lambda-rie --log-level error /var/runtime/bootstrap
fi
exec /var/runtime/bootstrap
"""
_BOOTSTRAP = """#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_python3.12
exec /var/lang/bin/python3.12 /var/runtime/bootstrap.py
"""
# Lambda's order of looking for modules: the function, its layers, then what the runtime brings.
_BOOTSTRAP_PY = """import os, sys
runtime = [path for path in sys.path if path != "/var/runtime"]
task = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
layers = ["/opt/python/lib/python3.12/site-packages", "/opt/python"]
sys.path[:] = [task, *layers, *runtime, "/var/runtime"]
from awslambdaric.__main__ import main
main([sys.argv[0], os.environ["_HANDLER"]])
"""


def provide(engine: Engine, scratch: Path, emulator: Path) -> str:
    """Have the image under NAME in the engine. Returns how: "present", "pulled" or "made here".

    Raises:
        NoEngine: it can neither be pulled nor be made on this machine.
    """
    if engine.docker("image", "inspect", NAME).returncode == 0:
        return "present"
    try:
        if engine.docker("pull", "--quiet", NAME, timeout_s=_PULL_S).returncode == 0:
            return "pulled"
    except subprocess.TimeoutExpired:
        pass
    if sysconfig.get_platform() != "linux-x86_64":
        raise NoEngine(f"{NAME} can't be pulled, and can only be made on Linux on x86_64")
    root = scratch / "image"
    _make(root, emulator)
    archive = scratch / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".", filter=_owned_by_root)
    changes = [f"ENV {name}={value}" for name, value in _ENVIRONMENT.items()]
    changes += ["WORKDIR /var/task", 'ENTRYPOINT ["/lambda-entrypoint.sh"]']
    arguments = [argument for change in changes for argument in ("--change", change)]
    made = engine.docker("import", *arguments, str(archive), NAME, timeout_s=180)
    shutil.rmtree(root)
    archive.unlink()
    if made.returncode != 0:
        raise NoEngine(f"the engine takes no image: {made.stderr.strip()}")
    return "made here"


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _make(root: Path, emulator: Path) -> None:
    prefix, version = Path(sys.base_prefix), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in ("bin", "dev", "etc", "opt", "proc", "sys", "usr/bin", "var/rapid", "var/task", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    _put_shell(root)
    _copy(emulator, root / "usr/local/bin/aws-lambda-rie", mode=0o755)
    interpreter, library = prefix / "bin" / version, prefix / "lib" / version
    for name in (version, "python3", "python"):
        _copy(interpreter, root / "var/lang/bin" / name, mode=0o755)
    shutil.copytree(library, root / "var/lang/lib" / version, ignore=_LEFT_OUT)
    own = list(prefix.glob("lib/libpython3*.so*"))
    for path in own:
        _copy(path, root / "var/lang/lib" / path.name)
    for path in _libraries([interpreter, *library.glob("lib-dynload/*.so"), *own]):
        _copy(path, root / "lib/x86_64-linux-gnu" / path.name)
    for name in ("lib64/ld-linux-x86-64.so.2", "etc/ssl/certs/ca-certificates.crt"):
        _copy(Path("/") / name, root / name)
    (root / "etc/passwd").write_text(
        "root:x:0:0::/:/bin/sh\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"
    )
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    _put_runtime(root)


def _put_shell(root: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NoEngine("the image can't be made without busybox (Debian: apt install busybox-static)")
    if "dynamically" in output_of(["sh", "-c", f"ldd {busybox} 2>&1 || true"]):
        raise NoEngine("the busybox here is not a static one (Debian: apt install busybox-static)")
    _copy(Path(busybox), root / busybox.lstrip("/"), mode=0o755)
    output_of([busybox, "--install", "-s", str(root / "bin")])
    (root / "usr/bin/env").symlink_to("/bin/env")


def _put_runtime(root: Path) -> None:
    runtime = root / "var/runtime"
    output_of(
        [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(runtime), *RUNTIME_PACKAGES]
    )
    for path, text in (
        (runtime / "bootstrap", _BOOTSTRAP),
        (runtime / "bootstrap.py", _BOOTSTRAP_PY),
        (root / "lambda-entrypoint.sh", _ENTRYPOINT),
    ):
        path.write_text(text)
        path.chmod(0o755)


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """Every shared library of this machine that the programs load, Python's own aside."""
    listed = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    found = {Path(match) for match in re.findall(r"=> (/\S+)", listed)}
    for line in output_of(["sh", "-c", "/sbin/ldconfig -p || ldconfig -p"]).splitlines():
        if "x86-64" in line and _BY_NAME.search(line.replace("\t", " ")):
            found.add(Path(line.rpartition("=> ")[2]))
    return {path for path in found if not re.search(r"libpython|libtcl|libtk|libX", path.name)}


def _copy(source: Path, target: Path, mode: int | None = None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    if mode is not None:
        target.chmod(mode)
