"""What must be true of a version before Triton loads it.

Its files are what was published, by whoever holds the key, and an engine was built for the GPU that Triton has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.core.accelerator import Accelerator, misfit
from services.core.errors import ConfigurationError, IntegrityError, MissingDependency
from services.core.records.manifest import SIGNATURE_FILE, Manifest
from services.triton.layout import RepositoryLayout
from services.triton.onnx_external import check_external
from services.triton.published import file_faults, read_manifest, required_manifest


class Trust:
    """Checks versions on the disk.

    Without a key a version is loaded when its files are what its manifest says, or when it has no manifest because
    something else than Penstock put it there. With a key nothing is loaded that was not signed with its private half.

    What Triton reads is read a moment later: a repository that others may write while it serves is not protected.

    Args:
        repository: Where the versions are.
        public_key: PEM file of the public key that versions must be signed for; None to ask for no signature.
        accelerator: Finds the GPU that Triton has, or None; asked when an engine is to be loaded, and only then.

    Raises:
        ConfigurationError: The key is not there: nothing is ever trusted by mistake.
    """

    def __init__(
        self,
        repository: RepositoryLayout,
        public_key: Path | None = None,
        accelerator: Callable[[], Accelerator | None] = lambda: None,
    ) -> None:
        self._repository = repository
        self._public_key = public_key
        self._accelerator = accelerator
        if public_key is not None and not public_key.is_file():
            raise ConfigurationError(f"public_key: there is no file {public_key}; name the PEM file of the public key")

    def check(self, model: str, version: int) -> None:
        """Read every file of a version and compare; takes about a second per GB.

        Raises:
            NotFound: No such model or version.
            IntegrityError: A file is not what was published, the signature is missing or wrong, or it is an engine for
                another GPU.
        """
        manifest = self.check_files(model, version)
        if manifest is None or manifest.engine is None:
            return
        if why := misfit(manifest.target, manifest.engine, self._accelerator()):
            raise IntegrityError(f"{model} version {version} is {why}")

    def check_files(self, model: str, version: int) -> Manifest | None:
        """Do the same wherever the version is to run, and return its manifest; None where nobody asks for one."""
        layout = self._repository
        folder = layout.version_directory(model, version)
        if self._public_key is None and read_manifest(layout, model, version) is None:
            check_external(folder)
            return None
        manifest = required_manifest(layout, model, version)
        if faults := file_faults(folder, manifest):
            raise IntegrityError(f"{model} version {version} is not what was published: {'; '.join(faults)}")
        if self._public_key is not None:
            check_signature(folder, self._public_key)
        check_external(folder)
        return manifest


def check_signature(folder: Path, public_key: Path) -> None:
    """Verify the OpenSSF model signature of a version's folder.

    Raises:
        ConfigurationError: The key cannot be read.
        IntegrityError: There is no signature, it was made with another key, or a file differs from what was signed.
    """
    try:  # takes 0.3 s, and only those who ask for signatures need it
        import model_signing
    except ImportError as error:
        raise MissingDependency(f"signatures cannot be checked: {error}", "pip install 'penstock[signing]'") from error

    signature = folder / SIGNATURE_FILE
    if not signature.is_file() or signature.is_symlink():
        raise IntegrityError(
            f"{folder} is not signed: there is no {SIGNATURE_FILE}; build it with --sign-key, or leave public_key out"
        )
    try:
        verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigurationError(f"public_key: {public_key} is not a public key in PEM: {error}") from error
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
    try:
        verifier.set_hashing_config(hashing).verify(folder, signature)
    except Exception as error:  # a damaged bundle makes the library fail in any way, and none of them is trust
        reason = str(error).strip() or type(error).__name__
        raise IntegrityError(f"{signature} is no signature of this version for {public_key}: {reason}") from error
