"""A finished version becomes visible in one step: the rename of its folder to ``<model>/<N>``.

Everything before the rename happens in the staging folder. The number is claimed under the model's lock, so two builds
at once get two numbers, and the highest number ever given is kept in the lock file, so that a number is never used
again for something else. Killed at any point, a build leaves no version or a whole one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enginebuild.config_pbtxt import CONFIG_FILE, interface_of, parse
from enginebuild.digests import sha256_of
from enginebuild.lock import exclusive
from services.core.errors import Conflict
from services.core.records.manifest import MANIFEST_FILE, FileEntry, Manifest

_VERSION = re.compile(r"[1-9][0-9]*")
LOCK_FILE = ".lock"
LOCK_TIMEOUT_S = 60.0

ManifestMaker = Callable[[int, int | None, dict[str, FileEntry]], Manifest]


@dataclass(frozen=True, slots=True)
class Release:
    """What is to be published.

    Attributes:
        repository: The model repository.
        model: Model name.
        content: Folder in the staging area with the version's files, all but the manifest and its config.pbtxt.
        config: Text of config.pbtxt: the model's from now on, and the version's own for good.
        labels: Text of each label file, by file name.
    """

    repository: Path
    model: str
    content: Path
    config: str
    labels: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self.repository / self.model


@dataclass(frozen=True, slots=True)
class Published:
    """A version that is there for good, whole."""

    path: Path
    manifest: Manifest


def refuse_interface_change(folder: Path, config: str, labels: Mapping[str, str]) -> None:
    """Refuse inputs, outputs, labels or a backend other than those of the versions published under this name.

    Raises:
        Conflict: They differ; says in what.
    """
    there = folder / CONFIG_FILE
    if not versions(folder) or not there.is_file():
        return
    earlier, later = parse(there.read_text(encoding="utf-8")), parse(config)
    if earlier.backend != later.backend:
        raise Conflict(
            f"model '{folder.name}' is published for backend '{earlier.backend}', and all versions of a model share "
            f"one config.pbtxt: publish for '{later.backend}' under a new model name or in another repository"
        )
    old, new = interface_of(earlier), interface_of(later)
    changed = [f"{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}" for name in sorted(old | new)
               if old.get(name) != new.get(name)]  # fmt: skip
    changed += [
        f"{name} has other classes"
        for name, text in labels.items()
        if (folder / name).is_file() and (folder / name).read_text(encoding="utf-8") != text
    ]
    if changed:
        raise Conflict(
            f"model '{folder.name}' is published with another interface: {'; '.join(changed)}. "
            "Its clients would break: publish under a new model name"
        )


def versions(folder: Path) -> list[int]:
    """Return the published version numbers of a model's folder, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir())


def publish(
    release: Release,
    manifest_of: ManifestMaker,
    say: Callable[[str], None],
    sign: Callable[[Path], None] | None = None,
) -> Published:
    """Publish the staged content as the model's next version.

    Args:
        release: What is to be published.
        manifest_of: Makes the manifest from the version's number, that of the one before it, and the files.
        say: Tells a person what is done.
        sign: Writes the signature of a folder's files into it; None leaves the version unsigned.

    Raises:
        Conflict: The interface differs from that of earlier versions, or another build holds the model's lock.
        OSError: The disk is full or cannot be written; nothing was published.
    """
    release.folder.mkdir(parents=True, exist_ok=True)
    with exclusive(release.folder / LOCK_FILE, LOCK_TIMEOUT_S) as lock:
        refuse_interface_change(release.folder, release.config, release.labels)
        there = versions(release.folder)
        version = max([*there, _highest_ever(lock)], default=0) + 1
        # The model's is that of the newest version; with its own a version can stand alone elsewhere.
        _write(release.content / CONFIG_FILE, release.config)
        manifest = manifest_of(version, max(there, default=None), file_entries(release.content))
        _write(release.content / MANIFEST_FILE, manifest.to_json())
        if sign is not None:
            sign(release.content)
            say("signed")
        say(f"claimed version {version}")
        path = _place(release, version, say)
        _remember(lock, version)
    return Published(path, manifest)


def adopt(release: Release, manifest: Manifest, say: Callable[[str], None]) -> Published:
    """Publish a version that was built elsewhere, manifest and all, under the number that it has.

    Raises:
        Conflict: Another version has this number here, or another interface is published under this name.
        OSError: The disk is full or cannot be written; nothing was published.
    """
    version = manifest.version
    release.folder.mkdir(parents=True, exist_ok=True)
    with exclusive(release.folder / LOCK_FILE, LOCK_TIMEOUT_S) as lock:
        path = release.folder / str(version)
        if path.exists():
            if not _same(path / MANIFEST_FILE, release.content / MANIFEST_FILE):
                raise Conflict(f"{path} is another version {version}: pull into another repository")
            say(f"{path} is there already")
            return Published(path, manifest)
        refuse_interface_change(release.folder, release.config, release.labels)
        newest = max(versions(release.folder), default=0)
        path = _place(release, version, say, with_model_files=version > newest)
        _remember(lock, max(version, _highest_ever(lock)))
    return Published(path, manifest)


def _place(release: Release, version: int, say: Callable[[str], None], *, with_model_files: bool = True) -> Path:
    """Make a staged version visible; the caller holds the model's lock."""
    _sync_tree(release.content)
    if with_model_files:
        _replace_model_files(release)
        say(f"{CONFIG_FILE} is in place")
    path = release.folder / str(version)
    release.content.rename(path)
    _sync(release.folder)
    say(f"published {path}")
    return path


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Return every file below a folder but its manifest, by relative path, with digest and size."""
    return {
        relative: FileEntry(sha256_of(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (relative := path.relative_to(folder).as_posix()) != MANIFEST_FILE
    }


def _replace_model_files(release: Release) -> None:
    """Put config.pbtxt and the labels in place, each in one step, and only where they differ."""
    wanted = {**release.labels, CONFIG_FILE: release.config}
    stale = {
        name: text
        for name, text in wanted.items()
        if not (there := release.folder / name).is_file() or there.read_bytes() != text.encode()
    }
    staged = {name: release.content.parent / name for name in stale}
    for name, text in stale.items():  # all are on the disk before the first one is replaced
        _write(staged[name], text)
        _sync(staged[name])
    for name, path in staged.items():
        path.replace(release.folder / name)
    _sync(release.folder)


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode())


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _highest_ever(lock: int) -> int:
    text = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
    return int(text) if _VERSION.fullmatch(text) else 0


def _remember(lock: int, version: int) -> None:
    os.pwrite(lock, f"{version}\n".encode(), 0)
