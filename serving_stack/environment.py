"""The image's environment: its packages at its versions, in a virtual environment of their own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE = REPOSITORY / "training" / "image.txt"
_NOT_SERVING = ("sagemaker-training==",)
_ENTRY = Path(__file__).with_name("image_entry.py")
_CACHE = REPOSITORY / ".dropforge" / "cache"
_INSTALL_S = 900
SERVING_MODULE = "image_entry:main"


class CannotInstall(Exception):
    """The image's packages can't be installed here; the text says why."""


def packages() -> list[str]:
    """The image's packages that take part in serving, as ``name==version``."""
    lines = IMAGE.read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", *_NOT_SERVING))]


def serving_environment_folder() -> Path:
    """Return the virtual environment, made by uv when it isn't there yet.

    Nothing in it is compiled to byte code, as in the image, which is built and run without.

    Raises:
        CannotInstall: a package can't be had, or no C compiler is there for sagemaker-containers.
    """
    text = "".join(f"{line}\n" for line in packages())
    wanted = hashlib.sha256((text + sys.version).encode()).hexdigest()[:16]
    folder = _CACHE / f"serving-stack-{wanted}"
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        if shutil.which("cc") is None and shutil.which("gcc") is None:
            raise CannotInstall(
                "sagemaker-containers is published as source with a part in C, and there is no compiler "
                "(Debian: apt install gcc libc6-dev)."
            )
        for arguments in (
            ["venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            # sagemaker-containers asks for Flask 1.1.1; the image overrides that.
            [
                *("pip", "install", "--quiet", "--no-deps", "--python", str(python)),
                *("--build-constraints", str(IMAGE), "--requirements", "-"),
            ],
        ):
            command = [sys.executable, "-m", "uv", *arguments]
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=_INSTALL_S, check=False
            )
            if done.returncode != 0:
                raise CannotInstall(done.stderr.strip()[-2000:])
        # The image's build makes the same change: since Python 3.10 the name is elsewhere.
        (mapping,) = folder.glob("lib/python*/site-packages/sagemaker_containers/_mapping.py")
        mapping.write_text(mapping.read_text().replace("collections.Mapping", "collections.abc.Mapping"))
        (folder / "complete").touch()
    (site,) = folder.glob("lib/python*/site-packages")
    shutil.copyfile(_ENTRY, site / _ENTRY.name)
    serve = folder / "bin" / "serve"
    serve.write_text(f"#!{python}\nfrom image_entry import serve\nserve()\n")
    serve.chmod(0o755)
    return folder
