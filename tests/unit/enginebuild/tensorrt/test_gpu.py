"""The driver is asked first, and every way in which it may lack a GPU is one clear line."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from enginebuild.targets.tensorrt.gpu import Gpu, find_gpu, main

from services.core.errors import MissingDependency

DRIVER = """
int cuInit(unsigned flags) {{ return {init}; }}
int cuDeviceGet(int *device, int ordinal) {{ *device = 0; return {get}; }}
int cuDeviceGetName(char *name, int size, int device) {{ __builtin_strcpy(name, "NVIDIA H200"); return {name}; }}
int cuDeviceGetAttribute(int *found, int which, int device) {{ *found = which == 75 ? 9 : 0; return 0; }}
"""


def driver(tmp_path: Path, **codes: int) -> Callable[[str], ctypes.CDLL]:
    """Return what loads a driver that gives these CUresults."""
    source = tmp_path / "driver.c"
    source.write_text(DRIVER.format(**{"init": 0, "get": 0, "name": 0, **codes}))
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "these tests need a C compiler: apt install gcc"
    library = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    return lambda name: ctypes.CDLL(str(tmp_path / name))


def test_the_first_gpu_is_described(tmp_path: Path) -> None:
    gpu = find_gpu(driver(tmp_path))
    assert gpu == Gpu("NVIDIA H200", 9, 0)
    assert gpu.compute_capability == "9.0"


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ({"init": 100}, "cuInit gives 100"),
        ({"get": 101}, "knows no GPU: cuDeviceGet gives 101"),
        ({"name": 1}, "does not describe its GPU"),
    ],
)
def test_a_driver_without_a_gpu_says_what_it_lacks(tmp_path: Path, codes: dict[str, int], words: str) -> None:
    with pytest.raises(MissingDependency, match=words):
        find_gpu(driver(tmp_path, **codes))


def test_a_machine_without_a_driver_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def absent() -> Gpu:
        raise MissingDependency("no NVIDIA driver", "use another machine")

    assert main(absent) == 3
    assert capsys.readouterr().err == "no NVIDIA driver; use another machine\n"


@pytest.mark.parametrize(
    ("gpu", "bf16", "int8"),
    [(Gpu("H200", 9, 0), True, True), (Gpu("T4", 7, 5), False, True), (Gpu("P100", 6, 0), False, False)],
)
def test_precisions_come_with_generations(gpu: Gpu, bf16: bool, int8: bool) -> None:
    assert (gpu.has_bf16, gpu.has_int8) == (bf16, int8)
