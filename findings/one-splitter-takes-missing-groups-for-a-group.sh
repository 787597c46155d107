#!/usr/bin/env bash
# scikit-learn 1.9.0: three of four splitters by groups refuse a missing group, StratifiedGroupKFold splits by it.
#
# Expected: all four refuse, or all four take rows without a group alike. Seen: GroupKFold, LeaveOneGroupOut and
# GroupShuffleSplit say "Input groups contains NaN"; StratifiedGroupKFold takes all rows without a group for one
# group, whatever they are of, so that they lie in one fold together and may be most of it.
# Who changes the splitter to keep the classes even learns nothing of the rows whose customer nobody knows.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.0
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import sklearn
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, LeaveOneGroupOut, StratifiedGroupKFold

groups = np.array([1.0, 1, 2, 2, 3, 3, *[np.nan] * 14])
rows, target = np.zeros((20, 1)), np.tile([0, 1], 10)
seen = {}
for splitter in (GroupKFold(2), LeaveOneGroupOut(), GroupShuffleSplit(2, random_state=0), StratifiedGroupKFold(2)):
    name = type(splitter).__name__
    try:
        seen[name] = [groups[test].tolist() for _, test in splitter.split(rows, target, groups)]
    except ValueError as error:
        seen[name] = f"refused: {error}"
    print(f"{name:22}", seen[name])

assert sklearn.__version__ == "1.9.0"
assert all("contains NaN" in seen[name] for name in ("GroupKFold", "LeaveOneGroupOut", "GroupShuffleSplit"))
missing = sorted(int(np.isnan(fold).sum()) for fold in seen["StratifiedGroupKFold"])
assert missing == [0, 14]
print("as recorded")
PYTHON
