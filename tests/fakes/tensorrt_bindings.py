"""The real Python bindings of TensorRT, on a machine without TensorRT and without a GPU.

``make install`` puts the bindings of TensorRT 10 and 11 beside the environment. They want three shared libraries, which
nobody may install here; libraries that export the same names and do nothing let them be imported. Every class, enum and
signature is then the real one, and nothing can be built or run. One process can hold one version.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(sys.prefix) / "tensorrt"
VERSIONS = ("10", "11")
# The version that a process shall hold.
VARIABLE = "TENSORRT_BINDINGS"
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_EXPORTS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    *("getPluginRegistry", "getBuilderPluginRegistry", "initLibNvInferPlugins"),
)


def load_bindings() -> Any:
    """Return the bindings that ``VARIABLE`` names, or the newest; as ``tensorrt`` as well."""
    version = os.environ.get(VARIABLE, VERSIONS[-1])
    if "tensorrt" not in sys.modules:
        folder = FOLDER / version
        if not folder.is_dir():
            raise AssertionError(f"{folder} is not there: run make install")
        _load_stubs(version)
        sys.path.insert(0, str(folder))
        try:
            sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
        finally:
            sys.path.remove(str(folder))
    found = sys.modules["tensorrt"]
    assert found.__version__.startswith(f"{version}.")
    return found


def _load_stubs(version: str) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "these tests need a C compiler: apt install gcc"
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "stub.c"
        source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in _EXPORTS))
        for name in _LIBRARIES:
            file = f"lib{name}.so.{version}"
            flags = ["-shared", "-fPIC", f"-Wl,-soname,{file}"]
            subprocess.run([compiler, *flags, "-o", str(Path(work) / file), str(source)], check=True, timeout=60)
            ctypes.CDLL(str(Path(work) / file), mode=ctypes.RTLD_GLOBAL)
