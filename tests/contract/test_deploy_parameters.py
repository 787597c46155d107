"""What `make deploy` passes to `sam deploy`."""

from __future__ import annotations

import pytest
from scripts.deploy_parameters import ROOT, main, merged, quoted, release, tags

from dropforge_local.template import load_template
from dropforge_ops.errors import UsageError


def test_given_parameters_win_and_the_environments_stay():
    assert merged("dev", ["TargetColumn=y", "LogRetentionDays=1"]) == [
        "ModelName=dev",
        "LogRetentionDays=1",
        "PredictionRetentionDays=7",
        "RetireGraceHours=1",
        "TargetColumn=y",
    ]


@pytest.mark.parametrize(
    ("pair", "written"),
    [
        ("TargetColumn=y", "TargetColumn=y"),
        ("IdColumn=", 'IdColumn=""'),
        (
            "TrainingInstanceTypes=ml.m5.large, ml.m5.xlarge",
            'TrainingInstanceTypes="ml.m5.large, ml.m5.xlarge"',
        ),
        ('Hyperparameters={"max_iter": 300}', r'Hyperparameters="{\"max_iter\": 300}"'),
    ],
)
def test_sam_gets_a_value_whole(pair, written):
    """sam cuts a value at the first space or quote unless it is quoted."""
    assert quoted(pair) == written


def test_the_models_tag_is_the_model_that_is_deployed():
    assert tags("dev", ["TargetColumn=y"]) == ["dropforge:model=dev"]
    assert tags("dev", ["TargetColumn=y", "ModelName=wine"]) == ["dropforge:model=wine"]
    assert tags("default", []) == ["dropforge:model=model"]


def test_make_deploy_passes_the_tags_on():
    assert '--tags "$${tags[@]}"' in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(("environment", "given"), [("nowhere", []), ("dev", ["TargetColumn"])])
def test_refuses_what_is_no_environment_or_no_parameter(environment, given):
    with pytest.raises(ValueError, match=r"samconfig|Name=value"):
        merged(environment, given)


def test_refuses_what_sam_would_pass_over_in_silence():
    with pytest.raises(UsageError, match="no parameter TaskTyp; is it TaskType"):
        merged("dev", ["TargetColumn=y", "TaskTyp=binary"])
    with pytest.raises(UsageError, match=r"no parameter Zzz\. .*docs/reference"):
        merged("dev", ["TargetColumn=y", "Zzz=1"])


@pytest.mark.parametrize("environment", ["default", "dev", "stage", "prod"])
def test_environments_name_parameters_of_the_template(environment):
    known = load_template(ROOT / "template.yaml")["Parameters"]
    assert {each.partition("=")[0] for each in merged(environment, [])} <= known.keys()


def test_a_release_changes_with_code_layer_template_and_parameters_and_with_nothing_else(tmp_path):
    for name in ("functions/predict/app.py", "core/dropforge/config.py", "template.yaml", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    seen = [release(["A=1", "B=2"], tmp_path), release(["A=1", "B=3"], tmp_path)]
    for name in ("functions/predict/app.py", "core/dropforge/config.py", "template.yaml"):
        (tmp_path / name).write_text("2")
        seen.append(release(["A=1", "B=2"], tmp_path))
    assert len(set(seen)) == len(seen)

    (tmp_path / "README.md").write_text("2")
    assert release(["B=2", "A=1"], tmp_path) == seen[-1]
    assert release(["B=2", "A=1", "SourceCommit=1"], tmp_path) == seen[-1], "a commit alone publishes nothing"


def test_deploying_passes_a_release(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["deploy_parameters.py", "dev", "TargetColumn=y"])
    assert main() == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Release=")


def test_deploying_passes_the_commit_unless_somebody_names_it(monkeypatch, capsys):
    monkeypatch.setattr("scripts.deploy_parameters.source_commit", lambda root: f"{'a' * 40}-dirty")
    monkeypatch.setattr("sys.argv", ["deploy_parameters.py", "dev", "TargetColumn=y"])
    assert main() == 0
    assert f"SourceCommit={'a' * 40}-dirty" in capsys.readouterr().out.splitlines()
    monkeypatch.setattr(
        "sys.argv", ["deploy_parameters.py", "dev", "TargetColumn=y", f"SourceCommit={'b' * 40}"]
    )
    assert main() == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SourceCommit=")]
    assert found == [f"SourceCommit={'b' * 40}"]
