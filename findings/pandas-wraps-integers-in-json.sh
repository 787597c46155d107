#!/usr/bin/env bash
# pandas 3.1.1, read_json: an integer of 21 digits comes back as another number; a smaller one is refused.
#
# Expected: what doesn't fit into 64 bits is refused ("Value is too big"), or becomes a float or a Python integer,
# as read_csv makes it. Seen: 18446744073709551616 (2^64) is refused, and 123456789012345678901 is read without a
# word as 12776324570088369205, its remainder modulo 2^64: whether the overflow is noticed depends on the digits.
# Below zero the first integer beyond 64 bits is refused. read_csv keeps every digit of the same numbers.
# Who exports ids of more than 19 digits as JSON lines writes them as texts.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1
"$work/venv/bin/python" - <<'PYTHON'
import io

import pandas as pd


def of_json(number):
    try:
        return pd.read_json(io.StringIO(f'{{"id":{number}}}\n'), lines=True)["id"].tolist()[0]
    except ValueError as error:
        return f"refused: {error}"


def of_csv(number):
    return pd.read_csv(io.StringIO(f"id\n{number}\n"))["id"].tolist()[0]


numbers = (2**64 - 1, 2**64, 10**20 - 1, 123456789012345678901, -(2**63) - 1)
for number in numbers:
    print(f"{number:>22}  JSON: {of_json(number)}  CSV: {of_csv(number)}")

assert pd.__version__ == "3.1.1"
assert of_json(2**64 - 1) == 2**64 - 1
assert "too big" in of_json(2**64) and "too big" in of_json(10**20 - 1)
assert of_json(123456789012345678901) == 123456789012345678901 % 2**64 == 12776324570088369205
assert "too small" in of_json(-(2**63) - 1)
assert all(of_csv(number) == number for number in numbers)
print("as recorded")
PYTHON
