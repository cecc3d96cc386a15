"""Signs a version with a private key, as OpenSSF model signing says."""

from __future__ import annotations

from pathlib import Path

import model_signing

from services.core.errors import ConfigurationError
from services.core.records.manifest import SIGNATURE_FILE


class Signer:
    """Signs folders.

    Args:
        private_key: PEM file of an elliptic-curve key, without a password.

    Raises:
        ConfigurationError: It cannot be read, so that this is known before anything is trained.
    """

    def __init__(self, private_key: Path) -> None:
        try:
            self._config = model_signing.signing.Config().use_elliptic_key_signer(private_key=private_key)
        except (ValueError, TypeError, OSError) as error:
            raise ConfigurationError(
                f"--sign-key {private_key}: {error}; expected an elliptic-curve key in PEM, such as "
                "`openssl ecparam -name prime256v1 -genkey -noout` writes"
            ) from error

    def sign(self, folder: Path) -> None:
        """Write the signature of everything in a folder into it."""
        signature = folder / SIGNATURE_FILE
        hashing = model_signing.hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
        self._config.set_hashing_config(hashing).sign(folder, signature)
