"""Published versions on the disk: their manifests, and whether their files are still what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.core.errors import IntegrityError, NotFound
from services.core.records.manifest import MANIFEST_FILE, SIGNATURE_FILE, FileEntry, Manifest
from services.triton.layout import CONFIG, RepositoryLayout

_CHUNK = 1 << 20
# The manifest cannot hold its own digest; the signature covers it, and is made after it.
_UNLISTED = frozenset({MANIFEST_FILE, SIGNATURE_FILE})


def newest(layout: RepositoryLayout, model: str) -> int:
    """Return the newest version of a model.

    Raises:
        NotFound: No such model, or it has no version.
    """
    versions = layout.versions(model)
    if not versions:
        raise NotFound(f"model '{model}' has no published version in {layout.root}; publish one with `penstock build`")
    return versions[-1]


def read_manifest(layout: RepositoryLayout, model: str, version: int) -> Manifest | None:
    """Return a version's manifest, or None where it has none because something else than Penstock put it there.

    Raises:
        IntegrityError: The manifest is damaged.
    """
    path = layout.version_directory(model, version) / MANIFEST_FILE
    try:
        return Manifest.from_json(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror})") from error


def required_manifest(layout: RepositoryLayout, model: str, version: int) -> Manifest:
    """Return a version's manifest.

    Raises:
        NotFound: No such model or version.
        IntegrityError: The version has no manifest, a damaged one, or another version's.
    """
    manifest = read_manifest(layout, model, version)
    if manifest is None:
        raise IntegrityError(f"{model} version {version} has no {MANIFEST_FILE}: `penstock build` did not publish it")
    if (manifest.model, manifest.version) != (model, version):
        raise IntegrityError(
            f"{model} version {version}: its {MANIFEST_FILE} is that of {manifest.model} version {manifest.version}"
        )
    return manifest


def faults_of(layout: RepositoryLayout, manifest: Manifest) -> list[str]:
    """Return everything in which a version differs from what was published; empty when nothing does."""
    folder = layout.version_directory(manifest.model, manifest.version)
    return [*file_faults(folder, manifest), *config_faults(layout, manifest), *label_faults(layout, manifest)]


def file_faults(folder: Path, manifest: Manifest) -> list[str]:
    """Return how the files of a version differ from its manifest."""
    there = {
        relative: path
        for path in folder.rglob("*")
        if not path.is_dir() and (relative := path.relative_to(folder).as_posix()) not in _UNLISTED
    }
    faults = [f"{name} is missing" for name in manifest.files if name not in there]
    faults += [f"{name} is not in the manifest" for name in there if name not in manifest.files]
    for name, entry in manifest.files.items():
        if name in there and (fault := _file_fault(there[name], entry)):
            faults.append(f"{name} {fault}")
    return sorted(faults)


def label_faults(layout: RepositoryLayout, manifest: Manifest) -> list[str]:
    """Return how the label files, which belong to the model like config.pbtxt, differ from the manifest's classes."""
    folder = layout.model_directory(manifest.model)
    files = {output.name: output.label_filename for output in layout.config(manifest.model).output}
    faults = []
    for spec in manifest.outputs:
        name = files.get(spec.name, "")
        if spec.labels and not (name and (folder / name).is_file()):
            faults.append(f"the labels of output '{spec.name}' are missing")
        elif spec.labels and tuple((folder / name).read_text("utf-8", "replace").splitlines()) != spec.labels:
            faults.append(f"{name} has other classes than output '{spec.name}' was published with")
    return faults


def config_faults(layout: RepositoryLayout, manifest: Manifest) -> list[str]:
    """Return how config.pbtxt differs: it belongs to the model, so a later build of it is right as well."""
    known = {
        manifest.config_sha256,
        required_manifest(layout, manifest.model, newest(layout, manifest.model)).config_sha256,
    }
    found = _sha256(layout.model_directory(manifest.model) / CONFIG)
    if found in known:
        return []
    remedy = "copy that of the newest version's folder over it, or build the model again"
    return [f"{CONFIG} is not what a published build wrote (sha256 {found}); {remedy}"]


def _file_fault(path: Path, entry: FileEntry) -> str | None:
    if path.is_symlink() or not path.is_file():
        return "is not a plain file"
    size = path.stat().st_size
    if size != entry.size_bytes:
        return f"has {size} bytes, published with {entry.size_bytes}"
    found = _sha256(path)
    return None if found == entry.sha256 else f"has sha256 {found}, published with {entry.sha256}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
