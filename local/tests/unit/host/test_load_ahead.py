"""What the SDK has read before a fork is what each process would have read by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3.session
import botocore.session
import pytest
from botocore.loaders import JSONFileLoader, create_loader

from dropforge_local.glue import lambda_bootstrap


@pytest.fixture
def loaded_ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that the SDK reads after it was loaded ahead."""
    monkeypatch.setattr(botocore.session, "create_loader", create_loader)
    lambda_bootstrap.load_ahead()
    read: list[str] = []
    load = JSONFileLoader.load_file

    def recorded(self: JSONFileLoader, path: str) -> object:
        found = load(self, path)
        if found is not None:
            read.append(os.path.relpath(path, Path(botocore.session.__file__).parent / "data"))
        return found

    monkeypatch.setattr(JSONFileLoader, "load_file", recorded)
    return read


@pytest.mark.parametrize("service", lambda_bootstrap._SERVICES)
def test_a_client_is_made_without_reading_its_service_again(loaded_ahead: list[str], service: str) -> None:
    client = boto3.session.Session("a", "b", region_name="us-east-1").client(service)
    assert loaded_ahead == []
    assert client.meta.service_model.operation_names


def test_a_service_that_was_not_loaded_is_read_when_it_is_needed(loaded_ahead: list[str]) -> None:
    boto3.session.Session("a", "b", region_name="us-east-1").client("sqs")
    assert [path.partition("/")[0] for path in loaded_ahead] == ["sqs", "sqs"]


def test_what_one_session_changes_no_other_sees(loaded_ahead: list[str]) -> None:
    one, other = (botocore.session.Session().get_component("data_loader") for _ in range(2))
    one.search_paths.append("/elsewhere")
    assert "/elsewhere" not in other.search_paths


def test_a_folder_of_the_functions_own_is_searched(
    loaded_ahead: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    loader = botocore.session.Session().get_component("data_loader")
    assert str(tmp_path) in loader.search_paths
