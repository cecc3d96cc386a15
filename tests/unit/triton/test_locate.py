"""Finding a Triton and saying what it lacks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from services.core.errors import ConfigurationError, MissingDependency
from services.triton.embedded import EmbeddedTriton, check_libpython, check_numpy, check_onnxruntime
from services.triton.finding import Finding, require
from services.triton.locate import check_shared_memory, diagnose, locate
from services.triton.native import NativeTriton

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def touch(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(mode)
    return path


def wheel(root: Path, *pythons: str) -> Path:
    """Lay out files as the wheel does."""
    touch(root / "backends" / "python" / "libtriton_python.so")
    touch(root / "backends" / "python" / "triton_python_backend_utils.py")
    (root / "python_backend_stubs").mkdir()
    for python in pythons:
        touch(root / "python_backend_stubs" / python / "triton_python_backend_stub")
    return touch(root / "bin" / "tritonserver")


def ngc(root: Path, *backends: str) -> Path:
    for backend in backends:
        touch(root / "backends" / backend / "libtriton.so")
    return touch(root / "bin" / "tritonserver")


def test_a_setting_that_names_no_program_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"triton\.executable"):
        locate(tmp_path / "tritonserver")


def test_the_layout_decides_how_a_triton_is_run(tmp_path: Path) -> None:
    assert isinstance(locate(wheel(tmp_path / "wheel", PYTHON)), EmbeddedTriton)
    assert isinstance(locate(ngc(tmp_path / "ngc", "onnxruntime", "python")), NativeTriton)


def test_ngcs_triton_is_started_with_its_own_backends_and_nothing_written(tmp_path: Path) -> None:
    executable = ngc(tmp_path / "ngc", "onnxruntime")
    launch = NativeTriton(executable).prepare(tmp_path / "state")
    assert launch.backend_directory == tmp_path / "ngc" / "backends"
    assert launch.environment == dict(os.environ)
    assert not (tmp_path / "state").exists()


def test_a_triton_without_an_onnx_runtime_backend_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="ONNX Runtime backend"):
        NativeTriton(ngc(tmp_path / "ngc", "python")).prepare(tmp_path)


def test_the_wheels_triton_gets_a_directory_with_what_this_python_needs(tmp_path: Path) -> None:
    triton = EmbeddedTriton(wheel(tmp_path / "wheel", "3.8", PYTHON))
    launch = triton.prepare(tmp_path / "state")
    staged = launch.backend_directory
    assert {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()} == {
        "python/libtriton_python.so",
        "python/triton_python_backend_utils.py",
        "python/triton_python_backend_stub",
        "onnxruntime/model.py",
    }
    assert os.access(staged / "python" / "triton_python_backend_stub", os.X_OK)
    libraries = launch.environment["LD_LIBRARY_PATH"].split(os.pathsep)
    assert any((Path(directory) / f"libpython{PYTHON}.so.1.0").exists() for directory in libraries)
    assert Path(launch.environment["PATH"].split(os.pathsep)[0]) == Path(sys.executable).parent
    again = triton.prepare(tmp_path / "state")
    assert again.backend_directory == staged
    touch(tmp_path / "wheel" / "backends" / "python" / "libtriton_python.so").write_text("a new wheel")
    assert triton.prepare(tmp_path / "state").backend_directory != staged


def test_a_wheel_without_a_stub_for_this_python_names_the_pythons_that_it_serves(tmp_path: Path) -> None:
    triton = EmbeddedTriton(wheel(tmp_path / "wheel", "3.8", "3.9"))
    finding = triton.check_stub()
    assert not finding.ok
    assert "3.8, 3.9" in finding.detail
    assert "Python 3.9" in finding.remedy
    with pytest.raises(MissingDependency, match="stub"):
        triton.prepare(tmp_path / "state")


def test_a_directory_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="cannot stage"):
        EmbeddedTriton(wheel(tmp_path / "wheel", PYTHON)).prepare(tmp_path / "file")


def test_every_check_stands_alone() -> None:
    for check in (check_libpython, check_numpy, check_onnxruntime):
        finding = check()
        assert finding.detail
        assert finding.ok == (not finding.remedy)


def test_a_diagnosis_reports_everything_and_never_raises(tmp_path: Path) -> None:
    names = [finding.name for finding in diagnose(wheel(tmp_path / "wheel"))]
    assert names == [
        "Triton",
        "Triton's Python stub",
        "Python's shared library",
        "NumPy below 2",
        "ONNX Runtime",
        "shared memory",
    ]
    missing = diagnose(tmp_path / "nothing")
    assert not missing[0].ok
    assert missing[0].remedy


def test_shared_memory_must_be_there(tmp_path: Path) -> None:
    assert check_shared_memory(tmp_path).ok
    assert not check_shared_memory(tmp_path / "nowhere").ok


def test_the_first_thing_that_is_missing_is_raised_with_its_remedy() -> None:
    with pytest.raises(MissingDependency) as caught:
        require([Finding("a", True, "fine"), Finding("b", False, "gone", "get it"), Finding("c", False, "too", "x")])
    assert str(caught.value) == "b: gone"
    assert caught.value.remedy == "get it"
