"""The model server answers as the image's own does."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import numpy as np
import pytest

from dropforge_local.sagemaker.model_server import (
    UnsupportedContentType,
    build_app,
    decode,
    encode,
    import_program,
    missing_requirements,
    transform_of,
)


def client(**functions: Any) -> Any:
    app = build_app(transform_of(SimpleNamespace(__name__="user", **functions)), model="model")  # type: ignore[arg-type]
    return app.test_client()


def test_ping_is_empty_and_fine() -> None:
    answer = client(transform_fn=lambda *_: "").get("/ping")
    assert (answer.status_code, answer.data) == (200, b"")


def test_transform_fn_gets_model_content_and_types() -> None:
    seen: list[Any] = []

    def transform_fn(*arguments: Any) -> Any:
        seen.extend(arguments)
        return "done", "text/plain"

    answer = client(transform_fn=transform_fn).post(
        "/invocations", data=b"1,2", headers={"Content-Type": "text/csv", "Accept": "text/csv"}
    )
    assert seen == ["model", "1,2", "text/csv", "text/csv"]
    assert (answer.data, answer.mimetype) == (b"done", "text/plain")


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}])
def test_types_default_to_json(headers: dict[str, str]) -> None:
    def transform_fn(_model: Any, content: Any, content_type: str, accept: str) -> Any:
        return json.dumps([content, content_type, accept]), accept

    answer = client(transform_fn=transform_fn).post("/invocations", data=b"{}", headers=headers)
    assert answer.json == ["{}", "application/json", "application/json"]


def test_binary_types_stay_bytes() -> None:
    answer = client(transform_fn=lambda _m, content, *_: (repr(type(content)), "text/plain")).post(
        "/invocations", data=b"\xff", headers={"Content-Type": "application/x-npy"}
    )
    assert answer.data == b"<class 'bytes'>"


def test_response_of_transform_fn_chooses_the_status() -> None:
    answer = client(transform_fn=lambda *_: flask.Response("no", status=400)).post("/invocations", data=b"")
    assert (answer.status_code, answer.data) == (400, b"no")


def test_exception_and_unsupported_type_are_500() -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no")

    assert client(transform_fn=fail).post("/invocations", data=b"").status_code == 500
    default = client(predict_fn=lambda data, _model: data)
    assert default.post("/invocations", data=b"x", headers={"Content-Type": "image/png"}).status_code == 500
    assert default.post("/invocations", data=b"[1]", headers={"Accept": "image/png"}).status_code == 500


def test_parts_are_called_in_turn() -> None:
    answer = client(
        input_fn=lambda content, _type: int(content),
        predict_fn=lambda data, model: f"{model}{data + 1}",
        output_fn=lambda prediction, accept: (prediction, accept),
    ).post("/invocations", data=b"41", headers={"Content-Type": "text/csv", "Accept": "text/csv"})
    assert answer.data == b"model42"


def test_transform_fn_excludes_its_parts() -> None:
    with pytest.raises(ValueError, match="Cannot use transform_fn"):
        client(transform_fn=lambda *_: "", input_fn=lambda *_: "")


def test_default_input_is_float32() -> None:
    for content, kind in (("[[1, 2]]", "application/json"), ("1,2\n", "text/csv")):
        array = decode(content, kind)
        assert array.dtype == np.float32
        assert array.ravel().tolist() == [1.0, 2.0]


def test_npy_goes_both_ways_but_never_pickled() -> None:
    array = np.array([[1.5, 2.5]])
    packed = encode(array, "application/x-npy")
    assert isinstance(packed, bytes)
    np.testing.assert_array_equal(decode(packed, "application/x-npy"), array)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        decode(buffer.getvalue(), "application/x-npy")


def test_answers_are_written_as_asked() -> None:
    assert encode(np.array([1, 2]), "application/json") == "[1, 2]"
    assert encode(np.array([1, 2]), "text/csv") == "1\n2\n"
    with pytest.raises(UnsupportedContentType):
        encode(np.array([1]), "image/png")


def test_program_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    with pytest.raises(RuntimeError, match="SAGEMAKER_PROGRAM"):
        import_program()


def test_requirements_that_are_met_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("# comment\nflask\nnumpy>=1\nno-such-thing; python_version < '3'\n")
    assert missing_requirements(path) == []
    path.write_text("numpy<1\nno-such-thing\n-r other.txt\n")
    missing = missing_requirements(path)
    assert missing[0].startswith("numpy<1 (installed:")
    assert missing[1:] == ["no-such-thing", "-r other.txt"]


def code_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> Path:
    """A container's code folder, found as the image's serving stack finds it."""
    code = folder / "code"
    code.mkdir()
    for name, text in {"served_code__py": "LOADED = True\n", **files}.items():
        (code / name.replace("__", ".")).write_text(text)
    monkeypatch.setenv("ML_ROOT", str(folder))
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "served_code.py")
    monkeypatch.delenv("PIP_NO_BUILD_ISOLATION", raising=False)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "served_code", raising=False)
    return code


@pytest.mark.parametrize("setting", [None, "1", "true"])
def test_without_a_network_code_whose_build_needs_the_package_index_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    code_in(tmp_path, monkeypatch)
    if setting is not None:
        monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", setting)
    with pytest.raises(RuntimeError, match="InstallModuleError"):
        import_program(isolated=True)
    assert import_program().LOADED


@pytest.mark.parametrize("setting", ["0", "false", "OFF"])
def test_without_isolated_builds_code_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    code_in(tmp_path, monkeypatch)
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", setting)
    assert import_program(isolated=True).LOADED


def test_code_whose_build_requires_nothing_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_backend = '[build-system]\nrequires = []\nbuild-backend = "builds"\nbackend-path = ["."]\n'
    code_in(tmp_path, monkeypatch, pyproject__toml=own_backend)
    assert import_program(isolated=True).LOADED


def test_without_a_network_requirements_for_a_folder_of_their_own_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code_in(tmp_path, monkeypatch, requirements__txt="numpy>=2\n")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")
    assert import_program(isolated=True).LOADED
    monkeypatch.setenv("PIP_TARGET", "/tmp/installed")
    with pytest.raises(RuntimeError, match=r"requirements\.txt"):
        import_program(isolated=True)
