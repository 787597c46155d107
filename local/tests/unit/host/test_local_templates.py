"""Templates are read as CloudFormation reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropforge_local.errors import InvalidTemplate
from dropforge_local.template import load_template


def test_short_tags_become_functions_and_dates_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "Resources:\n  A:\n    Condition: C\n    X: !GetAtt B.Arn.Part\n    Y: !If [C, !Ref D, !Sub '${E}']\n"
        "    Z: !Join ['-', [1, !ImportValue v]]\n    Policy: {Version: 2012-10-17}\n    W: !Condition C\n"
    )
    assert load_template(path)["Resources"]["A"] == {
        "Condition": "C",
        "X": {"Fn::GetAtt": ["B", "Arn.Part"]},
        "Y": {"Fn::If": ["C", {"Ref": "D"}, {"Fn::Sub": "${E}"}]},
        "Z": {"Fn::Join": ["-", [1, {"Fn::ImportValue": "v"}]]},
        "Policy": {"Version": "2012-10-17"},
        "W": {"Condition": "C"},
    }


def test_aliases_and_merges_are_written_out_and_share_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "Resources:\n  A: &log {Type: T, Properties: &kept {KmsKeyId: &key !If [C, !Ref K, x]}}\n  B: *log\n"
        "  C: {Type: T, Properties: {<<: *kept, Other: [*key, *key]}}\n"
    )
    resources = load_template(path)["Resources"]
    key = {"Fn::If": ["C", {"Ref": "K"}, "x"]}
    assert resources["B"] == {"Type": "T", "Properties": {"KmsKeyId": key}}
    assert resources["C"]["Properties"] == {"KmsKeyId": key, "Other": [key, key]}
    resources["A"]["Properties"]["KmsKeyId"]["Fn::If"][0] = "D"
    resources["C"]["Properties"]["Other"][0]["Fn::If"][0] = "E"
    assert resources["B"]["Properties"]["KmsKeyId"] == key
    assert resources["C"]["Properties"] == {
        "KmsKeyId": key,
        "Other": [{"Fn::If": ["E", {"Ref": "K"}, "x"]}, key],
    }


@pytest.mark.parametrize(("text", "problem"), [("a: [", "not valid YAML"), ("a: 1", "no Resources")])
def test_names_what_is_wrong_with_a_file(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(InvalidTemplate, match=problem):
        load_template(path)
    with pytest.raises(InvalidTemplate, match="can't be read"):
        load_template(tmp_path / "missing.yaml")
