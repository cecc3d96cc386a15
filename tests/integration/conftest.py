"""A real Triton and a real MLflow server for all integration tests, each started once, when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.triton.finding import Finding
from services.triton.locate import diagnose
from tests.fakes.onnx_repository import build_repository
from tests.fakes.running_mlflow import RunningMlflow, running_mlflow
from tests.fakes.running_triton import RunningTriton, running_triton


def _missing() -> list[Finding]:
    return [finding for finding in diagnose() if not finding.ok]


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    """A Triton with the models of ``tests/fakes/onnx_repository.py``, all loaded, ``scale`` with versions 1 and 2.

    It is shared: a test may load and infer, and leaves the versions named above loaded. A test that kills a Triton
    starts one of its own with ``running_triton``.
    """
    missing = _missing()
    if missing:
        pytest.fail("; ".join(f"{finding.name}: {finding.detail} -> {finding.remedy}" for finding in missing))
    root = tmp_path_factory.mktemp("triton")
    build_repository(root / "repository")
    with running_triton(root / "repository", root / "state") as running:
        for model in ("every_datatype", "lookup", "classes", "unbatched", "reshaped"):
            running.load(model, 1)
        running.load("scale", 1, 2)
        yield running


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMlflow]:
    """An MLflow server, shared: every test has registered models of its own."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as running:
        yield running
