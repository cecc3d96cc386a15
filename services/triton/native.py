"""A Triton with its own backends, as in NGC's containers."""

from __future__ import annotations

import os
from pathlib import Path

from services.triton.finding import Finding, require
from services.triton.installation import Launch


class NativeTriton:
    """A tritonserver whose ``../backends`` hold what the models need.

    Args:
        executable: ``/opt/tritonserver/bin/tritonserver`` or one of the same layout.
    """

    def __init__(self, executable: Path) -> None:
        self.executable = executable
        self._backends = executable.parent.parent / "backends"

    def findings(self) -> list[Finding]:
        """Check that it is a program and has an ONNX Runtime backend."""
        program = Finding("tritonserver", True, str(self.executable))
        if not os.access(self.executable, os.X_OK):
            remedy = f"chmod +x {self.executable}"
            program = Finding("tritonserver", False, f"{self.executable} cannot be executed", remedy)
        backend = Finding("ONNX Runtime backend", True, str(self._backends / "onnxruntime"))
        if not (self._backends / "onnxruntime").is_dir():
            detail = f"no {self._backends / 'onnxruntime'}"
            remedy = "use NGC's tritonserver image with all backends, or the penstock[embedded] extra"
            backend = Finding("ONNX Runtime backend", False, detail, remedy)
        return [program, backend]

    def prepare(self, directory: Path) -> Launch:  # noqa: ARG002 - nothing to write
        """Return how to start it."""
        require(self.findings())
        return Launch(self.executable, self._backends, dict(os.environ))
