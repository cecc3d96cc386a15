"""A version from the local repository to a store, and back: compared with its manifest on each way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from enginebuild.config_pbtxt import CONFIG_FILE, parse
from enginebuild.publish import Release, adopt, file_entries, versions
from enginebuild.staging import claim
from enginebuild.stores.store import Store
from services.core.errors import IntegrityError, NotFound
from services.core.records.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest

Say = Callable[[str], None]
# Of the files beside the versions: the configuration and the labels.
_SHARED = (".pbtxt", ".txt")


def push(store: Store, repository: Path, model: str, version: int, say: Say) -> Manifest:
    """Store a published version somewhere else.

    Raises:
        NotFound: There is no such version.
        IntegrityError: It is not what was published.
        Conflict: The store has another version under this number.
    """
    folder = repository / model / str(version)
    if not folder.is_dir():
        there = ", ".join(map(str, versions(folder.parent))) or "none"
        raise NotFound(f"{repository} has no version {version} of '{model}'; it has {there}")
    manifest = _whole(folder, model, version)
    names = [*manifest.files, MANIFEST_FILE, *([SIGNATURE_FILE] if (folder / SIGNATURE_FILE).is_file() else [])]
    shared = _shared(folder.parent)
    with tempfile.TemporaryDirectory() as work:
        if version != versions(folder.parent)[-1]:  # the model's own is a newer version's, which may not be there
            shared[CONFIG_FILE] = Path(shutil.copy(folder / CONFIG_FILE, work))
        store.push(model, version, {name: folder / name for name in names}, shared)
    say(f"pushed {model} version {version}: {len(names)} files")
    return manifest


def pull(
    store: Store, repository: Path, model: str, version: int | None, say: Say, *, check: Callable[[Path], None]
) -> Manifest:
    """Bring a version into the local repository, under the number that it has.

    Args:
        store: Where it is.
        repository: The local repository.
        model: Model name.
        version: Its number; None for the newest.
        say: Tells a person what is done.
        check: Asked once more about the version's folder before anybody sees it, for a signature.

    Raises:
        NotFound: The store does not have it.
        IntegrityError: It is not what was published.
        Conflict: Another version is published here under this number, or another interface under this name.
    """
    if version is None:
        there = store.versions(model)
        if not there:
            raise NotFound(f"the store has no version of '{model}'")
        version = there[-1]
    with claim(repository) as staging:
        folder = staging / "pulled" / "version"
        store.pull(model, version, folder)
        manifest = _whole(folder, model, version)
        check(folder)
        config = (folder / CONFIG_FILE).read_text("utf-8")
        adopt(Release(repository, model, folder, config, _labels(folder.parent, config, manifest)), manifest, say)
    return manifest


def _labels(folder: Path, config: str, manifest: Manifest) -> dict[str, str]:
    """Return the text of each label file that a version needs, when its classes are those that it was published with.

    Raises:
        IntegrityError: One is missing or has other classes.
    """
    files, found = {output.name: output.label_filename for output in parse(config).output}, {}
    there = _shared(folder)
    for spec in manifest.outputs:
        if not spec.labels:
            continue
        name = files.get(spec.name, "")
        text = there[name].read_text("utf-8", "replace") if name in there else ""
        if tuple(text.splitlines()) != spec.labels:
            raise IntegrityError(
                f"the store has no '{name}' of '{manifest.model}' with the classes that version {manifest.version} was "
                "published with; push the version again"
            )
        found[name] = text
    return found


def _shared(folder: Path) -> dict[str, Path]:
    """Return the model's own files: its configuration and its labels."""
    return {path.name: path for path in sorted(folder.glob("*")) if path.suffix in _SHARED and path.is_file()}


def _whole(folder: Path, model: str, version: int) -> Manifest:
    """Return a version's manifest, when its files are what that says.

    Raises:
        IntegrityError: They are not.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise IntegrityError(f"{model} version {version} has no {MANIFEST_FILE}: `penstock build` did not publish it")
    manifest = Manifest.from_json(path.read_bytes(), str(path))
    if (manifest.model, manifest.version) != (model, version):
        raise IntegrityError(f"{path} is that of {manifest.model} version {manifest.version}")
    found = file_entries(folder)
    found.pop(SIGNATURE_FILE, None)
    if found != manifest.files:
        other = sorted(
            name for name in found.keys() | manifest.files.keys() if found.get(name) != manifest.files.get(name)
        )
        raise IntegrityError(f"{model} version {version} is not what was published: {', '.join(other)} differ")
    if links := [name for name in found if (folder / name).is_symlink()]:
        raise IntegrityError(f"{model} version {version}: {', '.join(links)} are links")
    own = manifest.files.get(CONFIG_FILE)
    if own is None or own.sha256 != manifest.config_sha256:
        raise IntegrityError(f"{model} version {version} lacks the {CONFIG_FILE} it was built with; build it again")
    return manifest
