"""SHA-256 digests, in hexadecimal."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """Return the digest of a text as it is written to a file."""
    return hashlib.sha256(text.encode()).hexdigest()
