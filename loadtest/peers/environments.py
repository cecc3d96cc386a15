"""A virtual environment for each peer, with pinned versions, made once and used again."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import PenstockError

CACHE = Path(".peers")
INSTALL_TIMEOUT_S = 900
_STAMP = ".installed"


@dataclass(frozen=True, slots=True)
class Environment:
    """One virtual environment.

    Attributes:
        name: Its folder in the cache.
        requirements: Exact pins of everything in it.
        cache: Folder of all environments.
        python: The interpreter that makes it.
    """

    name: str
    requirements: Path
    cache: Path = CACHE
    python: str = sys.executable

    @property
    def bin(self) -> Path:
        """Its programs."""
        return self._root / "bin"

    def version(self, package: str) -> str:
        """Return the pinned version of a package.

        Raises:
            PenstockError: It is not pinned.
        """
        for line in self.requirements.read_text(encoding="utf-8").splitlines():
            found, _, version = line.partition("==")
            if found.strip().lower() == package and version:
                return version.strip()
        raise PenstockError(f"{self.requirements} does not pin {package}; expected a line {package}==VERSION")

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make it, unless it is there with the same pins for the same Python.

        Raises:
            PenstockError: It could not be made; pip's own words are in the message.
        """
        stamp, wanted = self._root / _STAMP, self._wanted()
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return
        say(f"installing {self.name} into {self._root}")
        shutil.rmtree(self._root, ignore_errors=True)
        self._run([self.python, "-m", "venv", str(self._root)])
        pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        self._run([*pip, "--requirement", str(self.requirements)])
        stamp.write_text(wanted, encoding="utf-8")

    @property
    def _root(self) -> Path:
        return self.cache.absolute() / self.name

    def _wanted(self) -> str:
        digest = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        return f"{digest} {self.python} {sys.version_info[:3]}\n"

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise PenstockError(f"{self.name}: not installed within {INSTALL_TIMEOUT_S} s") from error
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise PenstockError(f"{self.name}: cannot be installed: {' '.join(errors[-2:]) or 'pip said nothing'}")
