"""The run that holds one version in MLflow: its files, read back and compared, and its numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from enginebuild.digests import sha256_of
from enginebuild.stores.mlflow import record
from enginebuild.stores.mlflow.artifacts import MlflowArtifacts
from enginebuild.stores.mlflow.server import MlflowServer
from services.core.errors import Conflict, IntegrityError, PenstockError
from services.core.records.manifest import Manifest

_FINISHED, _FAILED = "FINISHED", "FAILED"


@contextmanager
def stored_run(
    server: MlflowServer, experiment: str, manifest: Manifest, tags: Mapping[str, str], sources: Mapping[str, Path]
) -> Iterator[Any]:
    """Store a version's files and numbers as a run, which fails where the block fails.

    Args:
        server: The server.
        experiment: Name of the experiment, which is made where it is missing.
        manifest: The version's manifest.
        tags: The run's tags.
        sources: Every file by the path that it gets there.

    Returns:
        MLflow's ``RunInfo``, whose files are all there and as they were sent.

    Raises:
        Conflict: The experiment is deleted.
        IntegrityError: A file arrived changed, or did not arrive.
    """
    what = f"a run of {manifest.model} version {manifest.version}"
    with server.errors(f"experiment '{experiment}'"):
        experiment_id = _experiment(server, experiment)
    with server.errors(what):
        name, all_tags = f"{manifest.model} {manifest.version}", {**tags, **record.run_tags_of(manifest)}
        run = server.client.create_run(experiment_id, run_name=name, tags=all_tags).info
    try:
        artifacts = server.artifacts(run.artifact_uri)
        for path, source in sources.items():
            artifacts.store(source, path)
        _compare(artifacts, sources)
        with server.errors(what):
            _log(server, run, manifest)
        yield run
        with server.errors(what):
            server.client.set_terminated(run.run_id, _FINISHED)
    except BaseException as error:
        _give_up(server, run.run_id, error)
        raise


def _experiment(server: MlflowServer, name: str) -> str:
    found = server.client.get_experiment_by_name(name)
    if found is None:
        return str(server.client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise Conflict(
            f"experiment '{name}' is deleted in MLflow at {server.address}: restore it there, or name another one as "
            "?experiment=NAME"
        )
    return str(found.experiment_id)


def _compare(artifacts: MlflowArtifacts, sources: Mapping[str, Path]) -> None:
    """Read back what was stored: MLflow knows no digests, and a version is registered once and for all."""
    listed = artifacts.files()
    if missing := sorted(sources.keys() - listed.keys()):
        raise IntegrityError(f"MLflow does not list {', '.join(missing)} after they were stored; push again")
    with tempfile.TemporaryDirectory(prefix="penstock-") as work:
        copy = Path(work) / "copy"
        for path, source in sources.items():
            artifacts.fetch(path, listed[path], copy)
            if sha256_of(copy) != sha256_of(source):
                raise IntegrityError(f"MLflow holds other bytes than were sent as {path}; push again")
            copy.unlink()


def _log(server: MlflowServer, run: Any, manifest: Manifest) -> None:
    from mlflow.entities import Metric, Param

    metrics = record.metrics_of(manifest)
    server.client.log_batch(
        run.run_id,
        metrics=[Metric(key, value, run.start_time, 0) for key, value in metrics.items()],
        params=[Param(key, value) for key, value in record.params_of(manifest).items()],
    )


def _give_up(server: MlflowServer, run_id: str, why: BaseException) -> None:
    """Mark a run that led to no version; when not even that can be done, it stays one that never finished."""
    try:
        with server.errors(f"the end of run {run_id}"):
            server.client.set_terminated(run_id, _FAILED)
    except PenstockError as error:
        why.add_note(f"its run could not be marked as failed either: {error}")
