"""Tries the project's model.py on a tiny table before anything is deployed with it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge_ops.errors import OperationFailed, code_of, message_of

_PROGRAM: Final = Path("training", "check_model.py")
_LOCKING: Final = Path("training", "wheels.py")
_PASSED: Final = Path(".dropforge", "checked-model")
_WITHIN_S: Final = 600.0
_ABSENT: Final = ("NoSuchKey", "NoSuchBucket")
_CONTRACT_KEY: Final = "contract/schema.json"


def check_model(root: Path, *, contract: bytes | None, parameters: Mapping[str, str]) -> None:
    """Fit what ``training/model.py`` builds on a made-up table; nothing is done where it has passed before.

    Args:
        root: the project's folder.
        contract: the pinned contract, whose columns the table gets; None where there is none yet.
        parameters: the stack's, of which TaskType counts where there is no contract, Hyperparameters,
            TuningTrials and TrainingInstanceCount.

    Raises:
        OperationFailed: it can't be used; the message names file and line where they are known.
    """
    task, hyperparameters = parameters.get("TaskType", "auto"), parameters.get("Hyperparameters", "{}")
    digest = hashlib.sha256(contract or task.encode())
    trials = parameters.get("TuningTrials", "0")
    instances = parameters.get("TrainingInstanceCount", "1")
    digest.update(f"{hyperparameters} {trials} {instances}".encode())
    for path in code_files(root):
        digest.update(path.read_bytes())
    passed = root / _PASSED
    if passed.is_file() and passed.read_text() == digest.hexdigest():
        return
    with tempfile.TemporaryDirectory(prefix="dropforge-check-") as folder:
        arguments = ["--task", task]
        if contract is not None:
            place = Path(folder, "schema.json")
            place.write_bytes(contract)
            arguments = ["--contract", str(place)]
        try:
            ended = subprocess.run(
                [
                    *(sys.executable, str(root / _PROGRAM), *arguments),
                    *(
                        "--hyperparameters",
                        hyperparameters,
                        "--tuning-trials",
                        trials,
                        "--instances",
                        instances,
                    ),
                ],
                capture_output=True,
                text=True,
                timeout=_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OperationFailed(
                f"training/model.py was not fitted on a table of 200 rows within {_WITHIN_S:g} s. Make it "
                "faster, or leave the check out (--no-model-check; make deploy MODEL_CHECK=no)."
            ) from error
    if ended.returncode:
        columns = "the pinned contract's columns" if contract is not None else "columns that are made up"
        raise OperationFailed(
            f"training/model.py can't be used. Tried on 200 rows with {columns}:\n{ended.stderr.strip()}\n"
            "Nothing was deployed. Where only your data would do, leave the check out (--no-model-check; "
            "make deploy MODEL_CHECK=no)."
        )
    passed.parent.mkdir(exist_ok=True)
    passed.write_text(digest.hexdigest())


def code_files(root: Path) -> list[Path]:
    """The files of the project that say what jobs train with, ``model.py`` among them."""
    training = root / "training"
    return sorted([*training.glob("*.py"), *training.glob("requirements.*"), *training.glob("image.txt")])


def lock_libraries(root: Path) -> None:
    """Write ``training/requirements.lock`` where it isn't of ``requirements.txt``.

    Raises:
        OperationFailed: a line of it can't be had; the message names it.
    """
    program = root / _LOCKING
    if not program.is_file():  # a project of an earlier release
        return
    ended = subprocess.run(
        [sys.executable, str(program), "lock"], capture_output=True, text=True, timeout=_WITHIN_S, check=False
    )
    if ended.returncode:
        raise OperationFailed(f"{ended.stderr.strip()}\nNothing was deployed.")


def pinned_contract(cloudformation: Any, s3: Any, stack: str) -> bytes | None:
    """The contract that a stack's drops have to keep to; None where there is none yet, or no stack."""
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
        if "DataBucket" not in outputs:
            return None
        content: bytes = s3.get_object(Bucket=outputs["DataBucket"], Key=_CONTRACT_KEY)["Body"].read()
    except ClientError as error:
        if code_of(error) not in _ABSENT and "does not exist" not in message_of(error):
            raise
        return None
    return content
