"""An archive serves without dropforge, as docs/how-to/take-a-model-elsewhere.md says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.training.job_folders import REPOSITORY, mixed, run_job, write_job

PAGE = REPOSITORY / "docs" / "how-to" / "take-a-model-elsewhere.md"
SAID = """
import json
print(json.dumps({"status": status, "said": json.loads(said), "loaded": sorted(sys.modules)}))
"""


def test_the_code_of_an_archive_answers_by_numpy_alone(tmp_path: Path) -> None:
    """The page's own lines, in an interpreter that looks for nothing of ours."""
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    contract, frame = mixed()
    done = run_job(write_job(tmp_path, contract, frame))
    assert done.returncode == 0, done.stderr

    ran = subprocess.run(
        [sys.executable, "-I", "-c", program[1] + SAID],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen["status"] == 200, seen["said"]
    assert 0 <= seen["said"]["predictions"][0]["probabilities"]["yes"] <= 1
    assert not {"sklearn", "pandas", "pyarrow", "joblib", "boto3"} & set(seen["loaded"])
