"""What a candidate and further arms need, as far as the model repository says it."""

from __future__ import annotations

from collections.abc import Iterable

from tritonclient.grpc import model_config_pb2

from services.core.memory.preflight import Need
from services.core.records.manifest import MANIFEST_FILE, SIGNATURE_FILE
from services.triton.layout import RepositoryLayout
from services.triton.published import read_manifest

# Read by Penstock, never by the runtime.
_NOT_LOADED = frozenset({MANIFEST_FILE, SIGNATURE_FILE, "warmup.npz", "evaluation.npz", "config.pbtxt"})
_GROUP = model_config_pb2.ModelInstanceGroup


def need_of(layout: RepositoryLayout, model: str, stable: int, challengers: Iterable[int]) -> Need:
    """Return what is known of a candidate and further arms before they run; reads sizes only.

    Raises:
        NotFound: No such model or version.
        ConfigurationError: The model's configuration cannot be read.
        IntegrityError: A manifest is damaged.
    """
    config = layout.config(model)
    host, gpu = 0, 0
    for group in config.instance_group or [_GROUP(kind=_GROUP.KIND_AUTO)]:
        count = max(1, group.count)
        # Left to itself, Triton takes GPUs for backends that use them: an engine can run nowhere else.
        on_gpu = group.kind == _GROUP.KIND_GPU or (group.kind == _GROUP.KIND_AUTO and config.backend == "tensorrt")
        host, gpu = (host, gpu + count) if on_gpu else (host + count, gpu)
    sizes = {version: _size(layout, model, version) for version in challengers}
    return Need(model, stable, _size(layout, model, stable), sizes, host, gpu)


def _size(layout: RepositoryLayout, model: str, version: int) -> int:
    """Return how much a runtime reads, bytes."""
    folder = layout.version_directory(model, version)
    manifest = read_manifest(layout, model, version)
    if manifest is not None:
        return sum(entry.size_bytes for name, entry in manifest.files.items() if name not in _NOT_LOADED)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_LOADED]
    return sum(path.stat().st_size for path in files)
