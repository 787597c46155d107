"""Several instances of a job train one model; one that is lost ends all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.unit.training.job_folders import (
    TIMEOUT_S,
    builtin,
    mixed,
    read_json,
    run_job,
    started_job,
    write_job,
)

import distributed_boosting
import model
import peers as peers_module
from dropforge.domain.contract import Column
from dropforge.domain.errors import InvalidHyperparameters, LostHost, NotDistributed
from dropforge_local.sagemaker.container import SharedNetwork, has_namespaces
from folders import Folders
from job import require_shared
from lightgbm_form import LightGbmTrees
from peers import Peers
from settings import read_settings

NAMES = ("127.0.0.1", "127.1", "127.0.1")
"""One address, by which LightGBM finds itself among the hosts, under a name for each."""


pytestmark = pytest.mark.skipif(not has_namespaces(sys.executable), reason="there are no namespaces here")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def write_hosts(base: Path, parts: list[pa.Table], hosts: int, silent_s: float = 60.0) -> list[Path]:
    """Return a root for each host, of which the training parts are dealt out as S3's keys are."""
    roots, network = [], SharedNetwork(sys.executable, [])
    joined = [f"/proc/{os.getpid()}/fd/{namespace}" for namespace in network.namespaces]
    for place in range(hosts):
        root = Path(tempfile.mkdtemp(dir=base.parent)) / "ml"
        shutil.copytree(base, root)
        folder = root / "input" / "data" / "train"
        for part in folder.iterdir():
            part.unlink()
        for number, table in enumerate(parts):
            if number % hosts == place:
                pq.write_table(table, folder / f"part-{number:05d}.parquet")
        told = {"current_host": NAMES[place], "hosts": NAMES[:hosts]}
        (root / "input" / "config" / "resourceconfig.json").write_text(json.dumps(told))
        code = root / "input" / "data" / "code"
        text = (code / "peers.py").read_text()
        text = text.replace("SILENT_S, BEAT_S = 60.0, 5.0", f"SILENT_S, BEAT_S = {silent_s}, {silent_s / 12}")
        (code / "peers.py").write_text(text)
        # LightGBM listens on every interface that there is.
        opened = f"[os.open(each, os.O_RDONLY) for each in {joined}]"
        join = f"import os\n\nfor each in {opened}:\n    os.setns(each)\n"
        text = (code / "train.py").read_text().replace("import os\n", join, 1)
        (code / "train.py").write_text(text)
        roots.append(root)
    return roots


def run_hosts(roots: list[Path]) -> list[subprocess.CompletedProcess[str]]:
    with ExitStack() as running:
        jobs = [running.enter_context(started_job(root, TRAINING_JOB_ARN="one")) for root in roots]
        return [job.wait(TIMEOUT_S) for job in jobs]


def failures(roots: list[Path]) -> list[str]:
    paths = [root / "output" / "failure" for root in roots]
    return [path.read_text() if path.is_file() else "" for path in paths]


def report_of(root: Path) -> dict:
    return read_json(root / "output" / "data" / "training_report.json")


def breaking_at(roots: list[Path], place: int, statement: str) -> None:
    """Have a host do something when it builds the model."""
    path = roots[place] / "input" / "data" / "code" / "model.py"
    text = path.read_text().replace(
        "    chosen = dict(hyperparameters)\n", f"    {statement}\n    chosen = dict(hyperparameters)\n", 1
    )
    assert statement in text
    path.write_text(text)


def test_hosts_train_one_model_of_rows_that_each_has_some_of(tmp_path):
    contract, frame = mixed(3000)
    contract = replace(contract, guarded=("city", "amount"))
    goal = json.dumps({"minimum_recall": 0.9, "positive_class": "yes"})
    given = {"metric": "auto", "seed": "0", "decision_goal": goal}
    base = write_job(tmp_path / "base", contract, frame, given)
    alone = run_job(base)
    sliced = report_of(base)["slices"][:2]
    assert alone.returncode == 0, alone.stderr
    whole = pq.read_table(base / "input" / "data" / "train")
    shutil.rmtree(base / "model"), shutil.rmtree(base / "output")
    # One host alone has seen Oslo; the third has no rows.
    is_oslo = pc.fill_null(pc.equal(whole["city"], "Oslo"), False)
    parts = [whole.filter(is_oslo), whole.filter(pc.invert(is_oslo))]
    digests = []
    for _ in range(2):
        roots = write_hosts(base, parts, 3)
        ended = run_hosts(roots)
        assert [each.returncode for each in ended] == [0, 0, 0], [each.stderr for each in ended]
        report = report_of(roots[0])
        digests.append(report["model_digest"])
    assert digests[0] == digests[1]
    assert [list((root / "model").glob("*")) for root in roots[1:]] == [[], []]
    assert "no training rows" in ended[2].stdout
    assert report["rows"]["train"] == report["fitted"]["train"] == len(whole)
    assert report["fitted"]["validation"] == report["rows"]["validation"]
    told = [(each["host"], each["rows"], each["files"]) for each in report["instances"]]
    assert told == [(NAMES[0], len(parts[0]), 1), (NAMES[1], len(parts[1]), 1)]
    assert report["compiled"]["used"]
    assert report["compiled"]["largest_difference"] < 1e-12
    assert set(read_json(roots[0] / "model" / "encoding.json")["vocabularies"]["city"]) == {
        *("Bern", "Rom", "Oslo", "Paris", "Łódź"),
    }
    # Guarded columns are sliced by the rows of both, and the threshold is one of rows that nobody fitted.
    assert report["slices"][:2] == sliced
    assert report["decision"]["chosen_on"]["source"] == "validation"
    assert report["validation"]["auc"] > report_of_alone(alone) - 0.03


def report_of_alone(ended: subprocess.CompletedProcess[str]) -> float:
    (line,) = [each for each in ended.stdout.splitlines() if each.startswith("validation:auc=")]
    return float(line.removeprefix("validation:auc=").rstrip(";"))


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_hosts_train_on_several_classes_and_on_numbers(tmp_path, name):
    contract, frame = builtin(name)
    base = write_job(tmp_path / "base", contract, frame)
    whole = pq.read_table(base / "input" / "data" / "train").sort_by(contract.target)
    # Sorted by the target: neither host has seen all classes.
    roots = write_hosts(base, [whole.slice(0, len(whole) // 2), whole.slice(len(whole) // 2)], 2)
    ended = run_hosts(roots)
    assert [each.returncode for each in ended] == [0, 0], failures(roots)
    report = report_of(roots[0])
    assert report["compiled"]["used"], report["compiled"]
    measured = report["validation"]
    assert measured["accuracy"] > 0.85 if name == "wine" else measured["r2"] > 0.2


def test_a_host_that_dies_ends_the_others_with_its_name(tmp_path):
    contract, frame = mixed(600)
    base = write_job(tmp_path / "base", contract, frame)
    whole = pq.read_table(base / "input" / "data" / "train")
    roots = write_hosts(base, [whole.slice(place * 160, 160) for place in range(3)], 3)
    breaking_at(roots, 2, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    began = time.monotonic()
    ended = run_hosts(roots)
    assert time.monotonic() - began < TIMEOUT_S / 2
    assert [each.returncode for each in ended] == [1, 1, -signal.SIGKILL]
    for failure in failures(roots)[:2]:
        assert failure.startswith(f"LostHost: {NAMES[2]} ended before the others were done")
    assert not any((root / "model" / "model.json").exists() for root in roots)


def test_a_host_that_falls_silent_ends_the_others(tmp_path):
    contract, frame = mixed(600)
    base = write_job(tmp_path / "base", contract, frame)
    whole = pq.read_table(base / "input" / "data" / "train")
    roots = write_hosts(base, [whole.slice(place * 240, 240) for place in range(2)], 2, silent_s=5.0)
    breaking_at(roots, 1, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    with started_job(roots[1], TRAINING_JOB_ARN="one") as stopped:
        assert run_job(roots[0], TRAINING_JOB_ARN="one").returncode == 1
        os.kill(stopped.process.pid, signal.SIGKILL)
    assert failures(roots)[0].startswith(f"LostHost: {NAMES[1]} has been silent for 5 s")


def test_an_error_on_one_host_is_the_reason_on_all(tmp_path):
    contract, frame = mixed(600)
    base = write_job(tmp_path / "base", contract, frame)
    whole = pq.read_table(base / "input" / "data" / "train")
    roots = write_hosts(base, [whole.slice(place * 160, 160) for place in range(3)], 3)
    breaking_at(roots, 1, "raise ValueError('broken here')")
    assert [each.returncode for each in run_hosts(roots)] == [1, 1, 1]
    assert all(each.startswith("ValueError: broken here") for each in failures(roots))


def two(monkeypatch, tokens=("one", "one")) -> list[Peers]:
    monkeypatch.setattr(peers_module, "PORT", free_port())
    lost: list[str] = []
    return [Peers(list(NAMES[:2]), place, token, lost.append) for place, token in enumerate(tokens)]


def test_all_hosts_hear_the_same_in_the_hosts_order(monkeypatch):
    first, second = two(monkeypatch)
    heard = {}

    def talk(host: Peers) -> None:
        with host:
            host.rows = [3, 0]
            heard[host.place] = [
                host.exchange_json({"place": host.place}),
                [each.tolist() for each in host.exchange_array(np.arange(host.place + 1.0))],
                host.exchange(b"said" if host.place else b""),
            ]
            host.leave()

    threads = [threading.Thread(target=talk, args=(host,)) for host in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert heard[0] == heard[1] == [[{"place": 0}, {"place": 1}], [[0.0], [0.0, 1.0]], [b"said"]]
    assert (first.leads, second.leads, first.share) == (True, False, (0, 1))


@pytest.mark.parametrize("place", [0, 1])
def test_a_host_that_never_comes_is_named(monkeypatch, place):
    monkeypatch.setattr(peers_module, "COMING_S", 0.3)
    with pytest.raises(LostHost, match=f"{NAMES[1 - place]} did not come in time"):
        two(monkeypatch)[place].__enter__()


def test_a_stranger_is_sent_away(monkeypatch):
    first, second = two(monkeypatch)
    _, stranger = two(monkeypatch, ("one", "another job's"))
    port = peers_module.PORT
    threads = [threading.Thread(target=each.__enter__, daemon=True) for each in (first,)]
    threads[0].start()
    time.sleep(0.2)
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"D" + (2**40).to_bytes(8) + b"x"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(said)
            assert connection.recv(1) == b""
    stranger.__enter__()
    assert not first._links
    second.__enter__()
    threads[0].join(TIMEOUT_S)
    assert list(first._links) == [1]
    for each in (first, second, stranger):
        each._end()


def test_what_one_instance_alone_can_do_is_refused_by_name(tmp_path):
    contract, _ = builtin("wine")
    config = Folders(tmp_path).config
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text('{"tuning_trials": "3"}')
    (config / "resourceconfig.json").write_text('{"hosts": ["algo-1", "algo-2"], "current_host": "algo-2"}')
    with pytest.raises(InvalidHyperparameters, match="tuning runs on one instance"):
        read_settings(Folders(tmp_path))
    texts = contract.__class__(
        contract.target, None, contract.task, contract.classes, (Column("note", "text"), *contract.columns)
    )
    with pytest.raises(NotDistributed, match="note: texts and categories"):
        require_shared(texts, model)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("gaps", [False, True], ids=["without gaps", "with gaps"])
def test_trees_as_bit_masks_answer_as_lightgbm_does(task, gaps):
    random = np.random.default_rng(7)
    matrix = random.normal(size=(2000, 5))
    matrix[:, 1] = random.integers(0, 40, 2000)
    matrix[:, 3] = np.where(random.random(2000) < 0.5, 0.0, matrix[:, 3])
    if gaps:
        matrix[random.random(matrix.shape) < 0.1] = np.nan
    signal_of = (
        np.nan_to_num(matrix[:, 0]) + (np.nan_to_num(matrix[:, 1]) % 3 == 1) + np.nan_to_num(matrix[:, 3])
    )
    target = (
        signal_of
        if task == "regression"
        else np.digitize(signal_of, [0.0, 1.0][: 1 + (task == "multiclass")])
    )
    outputs = 3 if task == "multiclass" else 1
    booster = lightgbm.train(
        {"objective": task, "verbosity": -1, "num_leaves": 40, "num_threads": 1, "min_data_per_group": 5}
        | ({"num_class": 3} if outputs == 3 else {}),
        lightgbm.Dataset(matrix, target, categorical_feature=[1]),
        num_boost_round=20,
    )
    form = LightGbmTrees(booster.model_to_string(), outputs, 5).form(np.arange(5)).warm()
    asked = np.vstack([matrix, random.normal(size=(500, 5)) * 3, np.full((1, 5), np.nan), np.zeros((1, 5))])
    asked[:, 1] = np.concatenate([matrix[:, 1], random.integers(0, 60, 500), [np.nan, 0.0]])
    asked[2000:2100, 0] = np.nan
    raw = np.asarray(booster.predict(asked, raw_score=True)).reshape(len(asked), -1)
    assert np.array_equal(form.raw(asked), raw)
    covers = form.leaf_covers
    assert covers is not None
    assert (covers.sum(axis=1) == len(matrix)).all()


def test_the_sample_that_bins_are_learned_from_does_not_depend_on_who_holds_a_row(monkeypatch):
    random = np.random.default_rng(3)
    matrix = random.normal(size=(5000, 3))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    monkeypatch.setattr(distributed_boosting, "SAMPLED_ROWS", 1000)

    class Rows:
        def __init__(self, values):
            self.values, self.shape = values, values.shape

        def __len__(self):
            return len(self.values)

        def batches(self):
            yield from np.array_split(self.values, 7)

    found = distributed_boosting.sampled(Rows(matrix), Peers.alone())
    shuffled = distributed_boosting.sampled(Rows(matrix[random.permutation(5000)]), Peers.alone())
    assert np.array_equal(found, shuffled, equal_nan=True)
    assert 850 < len(found) < 1150
