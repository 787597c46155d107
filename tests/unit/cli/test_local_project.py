from __future__ import annotations

import json
import socket

import pytest

from dropforge_ops.cli.commands.demo import _same
from dropforge_ops.errors import NotFound, UsageError
from dropforge_ops.stack.project import asked_parameters, find_root, merged_parameters
from dropforge_ops.stack.samples import SAMPLES


def asked(**changes):
    return asked_parameters(
        **{"sample": None, "target": None, "key": None, "task": None, "pairs": [], **changes}
    )


def test_the_first_deployment_is_set_up_for_a_sample():
    parameters = merged_parameters(None, asked(), ())
    assert parameters == {"TargetColumn": "diagnosis", "IdColumn": "id", "TaskType": "binary"}


def test_what_is_deployed_stays_unless_asked_otherwise():
    deployed = {"TargetColumn": "price", "IdColumn": "", "TaskType": "auto", "MinimumRows": "20"}
    assert merged_parameters(deployed, asked(), deployed) == deployed
    assert merged_parameters(deployed, asked(pairs=["MinimumRows=30"]), deployed)["MinimumRows"] == "30"
    assert merged_parameters(deployed, asked(sample="wine"), deployed)["TargetColumn"] == "cultivar"
    assert merged_parameters(deployed, asked(), ["TargetColumn", "New"]) == {"TargetColumn": "price"}


def test_a_target_of_ones_own_has_no_id_and_finds_its_task_unless_told():
    assert asked(target="y") == {"TargetColumn": "y", "IdColumn": "", "TaskType": "auto"}
    assert asked(target="y", key="k", task="regression")["IdColumn"] == "k"
    assert merged_parameters(None, asked(target="y"), ())["TargetColumn"] == "y"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample": "iris"}, "There is no sample 'iris'"),
        ({"sample": "wine", "target": "y"}, "--sample sets target"),
        ({"pairs": ["MinimumRows"]}, "not of the form Key=Value"),
        ({"pairs": ["=3"]}, "not of the form Key=Value"),
    ],
)
def test_refuses_parameters_that_contradict_or_are_none(changes, said):
    with pytest.raises(UsageError, match=said):
        asked(**changes)


def test_finds_the_project_from_a_folder_within(tmp_path):
    (tmp_path / "template.yaml").write_text("")
    (tmp_path / "statemachine").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_root(tmp_path / "a" / "b") == tmp_path.resolve()
    with pytest.raises(NotFound, match=r"template\.yaml"):
        find_root(tmp_path.parent)


def test_up_and_demo_need_the_project(dropforge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("up", "demo"):
        outcome = dropforge(command)
        assert outcome.exit_code == 3
        assert "template.yaml" in outcome.stderr


def test_up_refuses_a_parameter_that_the_template_does_not_have(dropforge):
    outcome = dropforge("up", "--fresh", "--parameter", "EndpointMod=real-time", "--json")
    assert outcome.exit_code == 2
    assert "no parameter EndpointMod; is it EndpointMode?" in outcome.stdout


@pytest.mark.parametrize("option", ["--port", "--console-port"])
def test_up_names_the_option_of_a_used_port_before_anything_starts(dropforge, option, monkeypatch):
    def start(*_, **__):
        raise AssertionError("a host was started")

    monkeypatch.setattr("dropforge_local.host.LocalHost", start)
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        outcome = dropforge("up", option, str(port), "--json")
    assert outcome.exit_code == 2
    assert outcome.json["error"]["message"].startswith(f"{option} {port}: Address already in use")


def test_up_refuses_one_port_for_both(dropforge):
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
    outcome = dropforge("up", "--port", port, "--console-port", port, "--json")
    assert outcome.exit_code == 2
    assert "--console-port" in outcome.json["error"]["message"]


def test_up_is_of_this_machine_only(dropforge):
    outcome = dropforge("up", "--region", "eu-west-1", "--json")
    assert outcome.exit_code == 2
    assert "leave out --endpoint-url" in outcome.json["error"]["message"]


def test_the_demo_is_satisfied_with_the_recorded_answers_only():
    recorded = {"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}
    assert _same(recorded, recorded)
    assert not _same({**recorded, "label": "b"}, recorded)
    assert not _same({"label": "a", "probabilities": {"a": 0.76, "b": 0.24}}, recorded)


def test_writes_samples_where_asked(dropforge, tmp_path):
    outcome = dropforge("samples", "wine", "--to", tmp_path / "new")
    assert outcome.exit_code == 0
    assert "cultivar" in outcome.stdout
    assert len((tmp_path / "new" / "wine.csv").read_text().splitlines()) == 179


def test_writes_every_sample_by_default_and_names_them_in_json(dropforge, tmp_path):
    outcome = dropforge("samples", "--to", tmp_path, "--json")
    assert [each["name"] for each in json.loads(outcome.stdout)["samples"]] == list(SAMPLES)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(SAMPLES)


def test_refuses_a_sample_that_there_is_not(dropforge, tmp_path):
    outcome = dropforge("samples", "iris", "--to", tmp_path)
    assert outcome.exit_code == 2
    assert "there are breast-cancer, wine, diabetes" in outcome.stderr


def test_says_so_where_samples_can_not_be_written(dropforge, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = dropforge("samples", "wine", "--to", tmp_path / "file")
    assert outcome.exit_code == 1
    assert "can't be written to" in outcome.stderr
