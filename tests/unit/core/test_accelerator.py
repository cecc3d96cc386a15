"""An engine is loaded where it can run, and nowhere else."""

import pytest

from services.core.accelerator import Accelerator, misfit
from services.core.records.engine_record import EngineEntry
from services.core.records.manifest import TargetEntry

H200 = TargetEntry("tensorrt", "10.13.3.9", "NVIDIA H200", "9.0", {})


def engine(*, hardware: bool = False, version: bool = False) -> EngineEntry:
    return EngineEntry("0" * 64, 3, None, hardware, version, "the same graph", {}, None, ())


def test_what_onnx_runtime_runs_needs_no_gpu() -> None:
    assert misfit(TargetEntry("onnxruntime", "1.23", "a CPU", None, {}), None, None) is None


def test_an_engine_without_a_known_gpu_is_not_loaded() -> None:
    found = misfit(H200, engine(), None)
    assert found is not None
    assert "set triton.compute_capability" in found


@pytest.mark.parametrize(
    ("there", "hardware", "fits"),
    [("9.0", False, True), ("8.6", False, False), ("8.6", True, True), ("12.0", True, True), ("7.5", True, False)],
)
def test_the_gpu_decides(there: str, hardware: bool, fits: bool) -> None:
    assert (misfit(H200, engine(hardware=hardware), Accelerator(there)) is None) == fits


@pytest.mark.parametrize(
    ("there", "version", "fits"),
    [
        (None, False, True),
        ("10.13.3", False, True),
        ("10.13.3.9", False, True),
        ("10.13", False, True),
        ("10.14.1", False, False),
        ("10.14.1", True, True),
        ("10.9.0", True, False),
        ("11.4", True, False),
    ],
)
def test_the_version_decides_where_it_is_known(there: str | None, version: bool, fits: bool) -> None:
    assert (misfit(H200, engine(version=version), Accelerator("9.0", there)) is None) == fits


@pytest.mark.parametrize("text", ["", "9,0", "sm_90", "9."])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected numbers"):
        Accelerator(text)
    with pytest.raises(ValueError, match="expected numbers"):
        Accelerator("9.0", text)
