#!/usr/bin/env bash
# aws-sam-cli 1.170.0, a parameter whose value is JSON or has a space, given as an argument of its own.
#
# A shell hands "Name=value" over as one argument, whatever is in the value. Guess: sam takes the whole argument, or refuses
# it. Seen: it takes what stands before the first quote or space, keeps the other parameters, and says nothing:
# - Settings={"depth": 3} becomes "{", and so does Settings={"depth":3};
# - Types=ml.m5.large, ml.m5.xlarge becomes "ml.m5.large," with its comma;
# - --tags takes such a value whole (guess: as the other option does, or an error);
# - whole is also what has quotes of its own: Settings="{\"depth\": 3}".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.12 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aws-sam-cli==1.170.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from samcli.cli.types import CfnParameterOverridesType, CfnTags


def taken(kind, *arguments):
    try:
        return kind().convert(arguments, None, None)
    except Exception as error:
        return type(error).__name__


cases = [
    (CfnParameterOverridesType, ['Settings={"depth": 3}', "Seed=7"], {"Settings": "{", "Seed": "7"}),
    (CfnParameterOverridesType, ['Settings={"depth":3}', "Seed=7"], {"Settings": "{", "Seed": "7"}),
    (CfnParameterOverridesType, ["Types=ml.m5.large, ml.m5.xlarge"], {"Types": "ml.m5.large,"}),
    (CfnParameterOverridesType, [r'Settings="{\"depth\": 3}"'], {"Settings": '{"depth": 3}'}),
    (CfnTags, ["owner=data team"], {"owner": "data team"}),
]
for kind, arguments, wanted in cases:
    found = taken(kind, *arguments)
    print(f"{kind.__name__} {arguments}: {found}")
    if found != wanted:
        sys.exit(f"it was: {wanted}")
PYTHON
