"""Print the parameters of one environment, or its tags, one a line, with those given on top.

``SourceCommit`` is added: the commit that is deployed, marked where files differ from it.

``Release`` is added: the digest of the predict function's code, its layer, the template and all parameters. A
deployment publishes a new version of the function where it changes, and CodeDeploy rolls that out.

With ``--tags`` first, the tags are printed instead: the environment's, and the model's by ``ModelName``.

python scripts/deploy_parameters.py dev TargetColumn=diagnosis IdColumn=id
python scripts/deploy_parameters.py --tags dev TargetColumn=diagnosis ModelName=tumours
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dropforge_ops.errors import UsageError
from dropforge_ops.stack.environments import CONFIG, environment_parameters, environment_tags
from dropforge_ops.stack.project import declared_parameters, refuse_unknown_parameters
from dropforge_ops.stack.source_commit import PARAMETER, source_commit

ROOT = Path(__file__).resolve().parent.parent


def merged(environment: str, given: Sequence[str]) -> list[str]:
    """``Name=value`` for every parameter; the given ones win.

    Raises:
        UsageError: one is no parameter of the template.
    """
    values = environment_parameters(environment, given, ROOT / CONFIG)
    refuse_unknown_parameters(values, declared_parameters(ROOT))
    return [f"{name}={value}" for name, value in values.items()]


def tags(environment: str, given: Sequence[str]) -> list[str]:
    """``key=value`` for every tag of the deployment."""
    values = environment_parameters(environment, given, ROOT / CONFIG)
    default = declared_parameters(ROOT)["ModelName"]["Default"]
    found = environment_tags(environment, values.get("ModelName", default), ROOT / CONFIG)
    return [f"{key}={value}" for key, value in found.items()]


def quoted(pair: str) -> str:
    """Write a ``Name=value`` so that sam takes the whole value.

    Without quotes it takes what stands before the first space or quote, and says nothing of the rest.

    >>> quoted("TargetColumn=y"), quoted("TargetColumn=body mass")
    ('TargetColumn=y', 'TargetColumn="body mass"')
    """
    name, _, value = pair.partition("=")
    if value and not re.search(r"[\s\"'\\]", value):
        return pair
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


def release(parameters: Sequence[str], root: Path = ROOT) -> str:
    """The digest of what the predict function is made of and set to; the same content gives the same."""
    digest = hashlib.sha256()
    # Another commit alone is no reason to publish the function again.
    for line in sorted(each for each in parameters if not each.startswith(f"{PARAMETER}=")):
        digest.update(f"{line}\n".encode())
    files = [root / "template.yaml"]
    for folder in ("functions/predict", "core"):
        files += [
            path
            for path in sorted((root / folder).rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        ]
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root)}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def main() -> int:
    arguments = sys.argv[1:]
    try:
        if arguments[0] == "--tags":
            print("\n".join(map(quoted, tags(arguments[1], arguments[2:]))))
            return 0
        parameters = merged(arguments[0], arguments[1:])
    except (IndexError, ValueError, UsageError) as error:
        print(f"{error}" if str(error) else __doc__, file=sys.stderr)
        return 2
    if not any(each.startswith("TargetColumn=") for each in parameters):
        print('Name the column to predict: make deploy PARAMETERS="TargetColumn=…".', file=sys.stderr)
        return 2
    known = any(each.startswith(f"{PARAMETER}=") for each in parameters)
    commit = [] if known else [f"{PARAMETER}={source_commit(ROOT)}"]
    print("\n".join(map(quoted, [*parameters, *commit, f"Release={release(parameters)}"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
