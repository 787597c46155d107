"""What may be carried of the user's own libraries, and what is refused by which name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import wheels
from wheels import Files, LibraryError

IMAGE = "numpy==2.5.1\nrequests==2.33.0\n# system: libc.so.6 libm.so.6\n"


def project(folder: Path, requirements: str, image: str = IMAGE) -> Files:
    """A folder with requirements, whose only index is its own folder ``wheelhouse``."""
    (folder / "wheelhouse").mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(f"--no-index\n--find-links wheelhouse\n{requirements}")
    (folder / "image.txt").write_text(image)
    return Files(folder)


def publish(folder: Path, name: str, needs: str = "", tag: str = "py3-none-any", **files: bytes) -> Path:
    """Put a wheel into the wheelhouse: ``name`` is ``distribution-version``."""
    house = folder / "wheelhouse"
    house.mkdir(exist_ok=True)
    path = house / f"{name}-{tag}.whl"
    distribution, version = name.split("-")
    about = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    about += "".join(f"Requires-Dist: {each}\n" for each in needs.split(",") if each)
    content = {
        f"{distribution}/__init__.py": f"VERSION = {version!r}\n".encode(),
        **{file.replace("__", "/", 1): data for file, data in files.items()},
        f"{name}.dist-info/METADATA": about.encode(),
        f"{name}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in content.items():
            archive.writestr(file, data)
        archive.writestr(f"{name}.dist-info/RECORD", "".join(f"{file},,\n" for file in content))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_cache", lambda: tmp_path / "cache")


def test_what_the_image_lacks_is_locked_and_fetched_and_what_it_has_is_not(tmp_path: Path) -> None:
    publish(tmp_path, "forest-1.2", needs="requests>=2,numpy")
    publish(tmp_path, "forest-1.1")
    publish(tmp_path, "requests-2.33.0")
    publish(tmp_path, "requests-2.40.0")
    publish(tmp_path, "numpy-2.5.1")
    files = project(tmp_path, "forest  # any\n")
    assert wheels.lock(files)
    assert not wheels.lock(files), "the lock is of these requirements already"
    assert "forest==1.2" in files.lock.read_text()
    assert "requests==" not in files.lock.read_text()
    fetched = wheels.fetch(files, tmp_path / "out")
    assert [path.name for path in fetched] == ["forest-1.2-py3-none-any.whl"]


def test_a_fetch_with_an_unchanged_lock_needs_no_index(tmp_path: Path) -> None:
    published = publish(tmp_path, "forest-1.2")
    files = project(tmp_path, "forest\n")
    wheels.lock(files)
    wheels.fetch(files, tmp_path / "first")
    published.unlink()
    assert len(wheels.fetch(files, tmp_path / "second")) == 1


def test_a_cache_that_lost_or_changed_a_wheel_is_filled_again(tmp_path: Path) -> None:
    publish(tmp_path, "forest-1.2", needs="leaves")
    publish(tmp_path, "leaves-3.0")
    files = project(tmp_path, "forest\n")
    wheels.lock(files)
    kept = wheels.fetched(files)
    kept[0].unlink()
    assert wheels.fetched(files) == kept
    kept[1].write_bytes(b"changed")
    assert [path.stat().st_size > 100 for path in wheels.fetched(files)] == [True, True]


def test_a_wheel_of_other_bytes_than_the_locks_is_not_fetched(tmp_path: Path) -> None:
    publish(tmp_path, "forest-1.2")
    files = project(tmp_path, "forest\n")
    wheels.lock(files)
    publish(tmp_path, "forest-1.2", forest__more=b"else")
    with pytest.raises(wheels.NoFittingWheel, match="forest"):
        wheels.fetch(files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_locked_versions_stay_when_a_line_is_added(tmp_path: Path) -> None:
    publish(tmp_path, "forest-1.1")
    publish(tmp_path, "shap-1.0")
    files = project(tmp_path, "forest\n")
    wheels.lock(files)
    publish(tmp_path, "forest-1.2")
    wheels.lock(project(tmp_path, "forest\nshap\n"))
    assert "forest==1.1" in files.lock.read_text()
    assert "shap==1.0" in files.lock.read_text()


def test_without_requirements_nothing_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_text(IMAGE)
    assert not wheels.lock(Files(tmp_path))
    assert wheels.fetch(Files(tmp_path), tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("requirement", "error", "says"),
    [
        ("absent==1", "UnresolvableRequirement", r"line 4 \(absent==1\)"),
        ("forest==9", "UnresolvableRequirement", "forest==9"),
        ("forest==", "InvalidRequirement", "line 4"),
        ("other-python", "NoFittingWheel", r"line 4 \(other-python\).*cp39"),
        ("other-system", "NoFittingWheel", r"win_amd64"),
        ("newer-glibc", "NoFittingWheel", r"manylinux_2_39"),
        ("source-alone", "NoFittingWheel", r"source.alone"),
        ("numpy==1.26.4", "ReplacesImageLibrary", r"numpy 1\.26\.4 \(the image has 2\.5\.1\)"),
        ("older", "ReplacesImageLibrary", r"line 4 \(older\) needs numpy 1\.26\.4"),
    ],
)
def test_a_line_that_cannot_be_had_is_named(tmp_path: Path, requirement: str, error: str, says: str) -> None:
    publish(tmp_path, "forest-1.2")
    publish(tmp_path, "other_python-1.0", tag="cp39-cp39-manylinux_2_17_x86_64")
    publish(tmp_path, "other_system-1.0", tag="cp312-cp312-win_amd64")
    publish(tmp_path, "newer_glibc-1.0", tag="cp312-cp312-manylinux_2_39_x86_64")
    (tmp_path / "wheelhouse" / "source_alone-1.0.tar.gz").write_bytes(b"")
    publish(tmp_path, "numpy-1.26.4")
    publish(tmp_path, "numpy-2.5.1")
    publish(tmp_path, "older-1.0", needs="numpy<2")
    files = project(tmp_path, f"forest\n{requirement}\n")
    with pytest.raises(LibraryError, match=says) as raised:
        wheels.lock(files)
    assert type(raised.value).__name__ == error
    assert not files.lock.exists()


def test_lines_that_exclude_each_other_are_named_together(tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        publish(tmp_path, f"forest-{version}")
    publish(tmp_path, "left-1.0", needs="forest<2")
    publish(tmp_path, "right-1.0", needs="forest>=2")
    with pytest.raises(wheels.UnresolvableRequirement, match=r"together.*forest"):
        wheels.lock(project(tmp_path, "left\nright\n"))


def test_an_edited_requirement_makes_the_lock_stale(tmp_path: Path) -> None:
    publish(tmp_path, "forest-1.2")
    wheels.lock(project(tmp_path, "forest\n"))
    files = project(tmp_path, "forest==1.2\n")
    with pytest.raises(wheels.StaleLock, match=r"wheels\.py lock"):
        wheels.fetch(files, tmp_path / "out")
    wheels.lock(files)
    # So does another image.
    with pytest.raises(wheels.StaleLock):
        wheels.fetch(project(tmp_path, "forest==1.2\n", IMAGE.replace("2.5.1", "2.6.0")), tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "module"), [("sklearn__tree", "sklearn"), ("inference.py", "inference"), ("numpy.py", "numpy")]
)
def test_a_wheel_that_brings_modules_of_the_image_or_of_the_job_is_refused(
    tmp_path: Path, file: str, module: str
) -> None:
    publish(tmp_path, "forest-1.2", **{file: b""})
    files = project(tmp_path, "forest\n")
    wheels.lock(files)
    with pytest.raises(wheels.ReplacesImageLibrary, match=rf"forest.*'{module}'"):
        wheels.fetch(files, tmp_path / "out")


def test_wheels_beyond_what_lambda_or_a_container_takes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "forest-1.2", forest__data=b"x" * 100_000)
    files = project(tmp_path, "forest\n")
    wheels.lock(files)
    monkeypatch.setattr(wheels, "MAXIMUM_BYTES", 50_000)
    with pytest.raises(wheels.LibrariesTooLarge, match=r"forest-1\.2-py3-none-any\.whl"):
        wheels.fetch(files, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(wheels, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(wheels, "MAXIMUM_UNPACKED_BYTES", 50_000)
    with pytest.raises(wheels.LibrariesTooLarge, match="unpacked"):
        wheels.fetch(files, tmp_path / "out")
