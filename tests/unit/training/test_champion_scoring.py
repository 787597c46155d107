"""The live model is scored on the candidate's hold-out by its own code, if it is the registered one."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.training.job_folders import builtin, pack, read_json, run_job, write_job
from tests.workflow.previous_release import unpack_previous_release

from dropforge.application.judge_model import JudgeRequest, judge_model
from dropforge.domain import manifest
from dropforge.domain.contract import Column
from dropforge.domain.gate import GatePolicy


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def candidate_job(root, champion_archive, name="wine", contract=None, digest=None, **more):
    """A job whose champion channel holds that archive, registered under `digest` (its own by default)."""
    its, frame = builtin(name)
    hyperparameters = {
        "seed": "1",
        "estimator": "linear",
        "champion_sha256": digest or sha256(champion_archive),
        **more,
    }
    write_job(root, contract or its, frame, hyperparameters)
    channel = root / "input" / "data" / "champion"
    channel.mkdir()
    (channel / "model.tar.gz").write_bytes(champion_archive.read_bytes())
    return root


def report_of(root):
    return read_json(root / "output" / "data" / "training_report.json")


def repacked(folder, archive, **replaced):
    """Pack a model with files replaced by name, and its manifest made to fit."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files |= {name.replace("__", "/"): data for name, data in replaced.items()}
    content = json.loads(files.pop("model.json"))
    content["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    content["model_digest"] = manifest.model_digest(content["files"])
    files["model.json"] = json.dumps(content).encode()
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive


def test_champion_is_scored_on_the_same_rows_and_both_are_judged(trained, tmp_path):
    champion = pack(trained("wine") / "model", tmp_path / "champion.tar.gz")
    root = candidate_job(tmp_path / "job", champion, estimator="boosted", max_iter="20")
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    entry = report_of(root)["champion"]
    assert entry["libraries"]["scikit-learn"] == sklearn.__version__
    del entry["libraries"]
    assert entry == {"scored": True, "reason": None, "sha256": sha256(champion), "by": "its own code"}
    with np.load(root / "output" / "data" / "holdout.npz") as arrays:
        scores, rows = arrays["champion"], arrays["row_key"]
        assert not np.array_equal(scores, arrays["candidate"])
    with np.load(trained("wine") / "output" / "data" / "holdout.npz") as own:
        # The same split: the champion answers as it did in its own training.
        assert np.array_equal(rows, own["row_key"])
        assert scores == pytest.approx(own["candidate"], abs=1e-12)

    store = InMemoryObjectStore(
        {
            "s3://b/j/output/model.tar.gz": pack(root / "model", tmp_path / "m.tar.gz").read_bytes(),
            "s3://b/j/output/output.tar.gz": pack(
                root / "output" / "data", tmp_path / "o.tar.gz"
            ).read_bytes(),
        }
    )
    verdict = judge_model(
        JudgeRequest.of(
            {
                "run_id": "run-2",
                "model_data_url": "s3://b/j/output/model.tar.gz",
                "champion": {"model_package_arn": "arn:m/1", "model_sha256": sha256(champion)},
            },
            "b",
            GatePolicy(),
        ),
        store,
    )
    assert verdict["champion"]["scored"] is True
    assert verdict["model_digest"] == report_of(root)["model_digest"]
    assert verdict["metric"]["name"] == "accuracy"
    assert set(verdict["champion"]["difference"]) == {"value", "low", "high"}


def test_champion_of_another_digest_is_never_opened(trained, tmp_path):
    """The archive would run code on import; the job must fail before that."""
    marker = tmp_path / "was-opened"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n".encode()
    forged = repacked(trained("wine") / "model", tmp_path / "forged.tar.gz", **{"code__inference.py": code})
    assert forged.exists()
    root = candidate_job(tmp_path / "job", forged, digest="0" * 64)
    assert run_job(root).returncode == 1
    failure = (root / "output" / "failure").read_text()
    assert failure.startswith("ArtifactChanged: the champion's model.tar.gz has the SHA-256")
    assert not marker.exists()


def test_champion_of_a_changed_contract_is_told_to_be_unscorable(trained, tmp_path):
    champion = pack(trained("wine") / "model", tmp_path / "champion.tar.gz")
    contract, _ = builtin("wine")
    fewer = dataclasses.replace(contract, columns=contract.columns[1:])
    root = candidate_job(tmp_path / "job", champion, contract=fewer)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    champion_entry = report_of(root)["champion"]
    assert champion_entry["scored"] is False
    assert "SchemaChanged" in champion_entry["reason"]
    assert "alcohol" in champion_entry["reason"]
    assert "champion: not scored: SchemaChanged" in result.stdout
    with np.load(root / "output" / "data" / "holdout.npz") as arrays:
        assert "champion" not in arrays.files


def old_libraries(folder):
    """A model's manifest as an image with another scikit-learn wrote it."""
    content = json.loads((folder / "model.json").read_bytes())
    return json.dumps({**content, "libraries": {**content["libraries"], "scikit-learn": "1.8.0"}}).encode()


BROKEN = b"raise ImportError('this image has no such scikit-learn')\n"


def broken_champion(trained, tmp_path, *without):
    """A champion whose own code doesn't run on this image any more."""
    folder = tmp_path / "champion"
    shutil.copytree(trained("wine") / "model", folder)
    (folder / "model.json").write_bytes(old_libraries(folder))
    for name in without:
        (folder / name).unlink()
    return repacked(folder, tmp_path / "champion.tar.gz", **{"code__inference.py": BROKEN})


def test_champion_whose_own_code_fails_is_scored_by_its_compiled_form(trained, tmp_path):
    root = candidate_job(tmp_path / "job", broken_champion(trained, tmp_path))
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    entry = report_of(root)["champion"]
    assert (entry["scored"], entry["by"], entry["libraries"]["scikit-learn"]) == (
        True,
        "its compiled form",
        "1.8.0",
    )
    assert "scored by its compiled form, because its own code failed: ImportError" in result.stdout
    with (
        np.load(root / "output" / "data" / "holdout.npz") as arrays,
        np.load(trained("wine") / "output" / "data" / "holdout.npz") as own,
    ):
        assert arrays["champion"] == pytest.approx(own["candidate"], abs=1e-9)


def test_champion_without_a_compiled_form_is_told_with_both_versions(trained, tmp_path):
    root = candidate_job(tmp_path / "job", broken_champion(trained, tmp_path, "compiled.npz"))
    assert run_job(root).returncode == 0
    entry = report_of(root)["champion"]
    assert (entry["scored"], entry["by"]) == (False, None)
    assert entry["reason"].startswith("ImportError: this image has no such scikit-learn")
    assert (
        f"(it was trained with scikit-learn 1.8.0, and this image has {sklearn.__version__})"
        in entry["reason"]
    )


@pytest.fixture(scope="module")
def champion_of_then(tmp_path_factory):
    """A model that the release before one table of rules trained."""
    root = tmp_path_factory.mktemp("then")
    release = unpack_previous_release(tmp_path_factory.mktemp("release")).parent
    contract, frame = builtin("wine")
    hyperparameters = {"seed": "1", "estimator": "linear"}
    result = run_job(write_job(root, contract, frame, hyperparameters, release=release))
    assert result.returncode == 0, result.stderr
    return pack(root / "model", root / "champion.tar.gz")


@pytest.mark.parametrize("read_otherwise", ["", "'alcohol'"])
def test_champion_whose_release_split_the_same_rows_otherwise_is_not_compared(
    champion_of_then, tmp_path, read_otherwise
):
    root = candidate_job(tmp_path, champion_of_then)
    told = json.dumps({"1": read_otherwise}) if read_otherwise else ""
    result = run_job(root, DROPFORGE_READ_OTHERWISE=told)
    assert result.returncode == 0, result.stderr
    entry = report_of(root)["champion"]
    assert entry["scored"] is not bool(read_otherwise)
    if read_otherwise:
        assert entry["reason"].startswith(
            "NotComparable: the release that trained it read 'alcohol' otherwise"
        )


def test_champion_that_read_the_same_is_compared_whatever_an_earlier_release_read(trained, tmp_path):
    champion = pack(trained("wine") / "model", tmp_path / "champion.tar.gz")
    root = candidate_job(tmp_path / "job", champion)
    told = json.dumps({"1": "'alcohol'", "2": "'alcohol'"})
    assert run_job(root, DROPFORGE_READ_OTHERWISE=told).returncode == 0
    assert report_of(root)["champion"]["scored"]


def test_champion_of_the_second_reading_is_known_by_its_rules(trained, tmp_path):
    rules = (trained("wine") / "model" / "code" / "dropforge" / "domain" / "values.py").read_bytes()
    unnumbered = re.sub(rb"(?m)^READING = .*$", b"", rules)
    champion = repacked(
        trained("wine") / "model",
        tmp_path / "champion.tar.gz",
        **{"code__dropforge__domain__values.py": unnumbered},
    )
    root = candidate_job(tmp_path / "job", champion)
    told = json.dumps({"1": "'alcohol', 'ash'", "2": "'ash'"})
    assert run_job(root, DROPFORGE_READ_OTHERWISE=told).returncode == 0
    reason = report_of(root)["champion"]["reason"]
    assert reason.startswith("NotComparable: the release that trained it read 'ash' otherwise")


def test_champion_of_another_split_is_not_compared(trained, tmp_path):
    """Rows of this hold-out may be among those that it was trained on."""
    champion = pack(trained("wine") / "model", tmp_path / "champion.tar.gz")
    contract, _ = builtin("wine")
    by_features = tuple(column.name for column in contract.features)
    root = candidate_job(
        tmp_path / "job", champion, contract=dataclasses.replace(contract, split_by=by_features)
    )
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    entry = report_of(root)["champion"]
    assert (entry["scored"], entry["reason"].partition(":")[0]) == (False, "NotComparable")


def test_a_grouped_holdout_tells_which_rows_belong_together_and_ungrouped_champions_are_not_compared(
    trained, tmp_path
):
    """A champion whose rows were split one by one may know the hold-out's groups."""
    champion = pack(trained("wine") / "model", tmp_path / "champion.tar.gz")
    contract, frame = builtin("wine")
    frame["vineyard"] = np.arange(len(frame)) // 6
    columns = (*contract.columns, Column("vineyard", "integer", "split"))
    grouped = dataclasses.replace(contract, columns=columns, group="vineyard")
    root = write_job(
        tmp_path / "job",
        grouped,
        frame,
        {"seed": "1", "estimator": "linear", "champion_sha256": sha256(champion)},
    )
    (root / "input" / "data" / "champion").mkdir()
    (root / "input" / "data" / "champion" / "model.tar.gz").write_bytes(champion.read_bytes())
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert report_of(root)["champion"]["reason"].startswith("NotComparable: rows were split otherwise")
    with np.load(root / "output" / "data" / "holdout.npz", allow_pickle=False) as arrays:
        groups = arrays["group"]
    (part,) = (root / "input" / "data" / "test").glob("*.parquet")
    expected = pq.read_table(part)["vineyard"].to_numpy()
    assert len(set(zip(groups, expected, strict=True))) == len(set(groups)) == len(set(expected))


def timed_job(root, days, champion=None):
    """A job on wine whose rows have days: those of a split follow those of the split before."""
    contract, frame = builtin("wine")
    column = Column("day", "integer", "split")
    timed = dataclasses.replace(contract, columns=(*contract.columns, column), time="day")
    frame["day"] = 0
    more = {} if champion is None else {"champion_sha256": sha256(champion)}
    write_job(root, timed, frame, {"seed": "1", "estimator": "linear", **more})
    for split, first in zip(("train", "validation", "test"), days, strict=True):
        for part in (root / "input" / "data" / split).glob("*.parquet"):
            table = pq.read_table(part)
            place = table.schema.get_field_index("day")
            values = pa.array(first + np.arange(table.num_rows), pa.int64())
            pq.write_table(table.set_column(place, table.schema.field(place), values), part)
    if champion is not None:
        (root / "input" / "data" / "champion").mkdir()
        (root / "input" / "data" / "champion" / "model.tar.gz").write_bytes(champion.read_bytes())
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    return root


@pytest.mark.parametrize(("test_from", "compared"), [(1018, 18), (1010, 10), (900, 0)])
def test_both_models_are_judged_on_rows_newer_than_what_either_learned_from(tmp_path, test_from, compared):
    before = timed_job(tmp_path / "before", (0, 1000, 2000))
    champion = pack(before / "model", tmp_path / "champion.tar.gz")
    seen = read_json(before / "model" / "model.json")["seen_until"]
    assert seen == 1017, "the validation rows are learned from in the end"
    root = timed_job(tmp_path / "job", (0, 500, test_from), champion)
    with np.load(root / "output" / "data" / "holdout.npz", allow_pickle=False) as arrays:
        assert ("champion" in arrays.files) is bool(compared)
        assert len(arrays["row_key"]) == (compared or 18)
        assert {len(arrays[name]) for name in arrays.files} == {compared or 18}
    reason = report_of(root)["champion"]["reason"]
    assert (
        reason is None if compared else reason.startswith("NotComparable: no row of this hold-out is newer")
    )


def test_champion_that_predicts_something_else_is_unscorable(trained, tmp_path):
    """The wine model knows the columns, but the classes have been renamed since."""
    champion = pack(trained("wine") / "model", tmp_path / "champion.tar.gz")
    contract, frame = builtin("wine")
    classes = ("a", "b", "c")
    renamed = dataclasses.replace(contract, classes=classes)
    frame[contract.target] = frame[contract.target].map(dict(zip(contract.classes, classes, strict=True)))
    root = tmp_path / "job"
    write_job(root, renamed, frame, {"champion_sha256": sha256(champion), "estimator": "linear"})
    (root / "input" / "data" / "champion").mkdir()
    (root / "input" / "data" / "champion" / "model.tar.gz").write_bytes(champion.read_bytes())
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert report_of(root)["champion"]["reason"].startswith("SchemaChanged: it predicts classes")


def test_champion_whose_code_fails_is_unscorable_with_its_last_words(trained, tmp_path):
    code = b"raise SystemExit('libfoo is gone')\n"
    folder = tmp_path / "champion"
    shutil.copytree(trained("wine") / "model", folder)
    (folder / "compiled.npz").unlink()
    broken = repacked(folder, tmp_path / "broken.tar.gz", **{"code__inference.py": code})
    root = candidate_job(tmp_path / "job", broken)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert report_of(root)["champion"]["reason"] == "libfoo is gone"


def test_champion_with_a_changed_file_inside_is_unscorable(trained, tmp_path):
    """The archive is the registered one, but its manifest disowns a file: it must not be unpickled."""
    folder = tmp_path / "model"
    pack(trained("wine") / "model", tmp_path / "good.tar.gz")
    with tarfile.open(tmp_path / "good.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    (folder / "model.joblib").write_bytes(b"other bytes")
    root = candidate_job(tmp_path / "job", pack(folder, tmp_path / "changed.tar.gz"))
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert "InvalidModel" in report_of(root)["champion"]["reason"]
    assert "model.joblib has another digest" in report_of(root)["champion"]["reason"]


def test_champion_archive_that_leaves_its_folder_fails_the_job(tmp_path):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("../../outside")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    root = candidate_job(tmp_path / "job", archive)
    assert run_job(root).returncode == 1
    assert (root / "output" / "failure").read_text().startswith("UnsafeArchive: '../../outside'")
    assert not (tmp_path / "outside").exists()


def test_champion_channel_without_an_archive_fails_the_job(tmp_path):
    root = write_job(tmp_path, *builtin("wine"), {"champion_sha256": "0" * 64})
    (root / "input" / "data" / "champion").mkdir()
    assert run_job(root).returncode == 1
    assert (root / "output" / "failure").read_text().startswith("ArtifactMissing")


def test_champion_channel_without_a_digest_fails_the_job(tmp_path):
    root = write_job(tmp_path, *builtin("wine"))
    (root / "input" / "data" / "champion").mkdir()
    assert run_job(root).returncode == 1
    assert (root / "output" / "failure").read_text().startswith("InvalidHyperparameters")
