"""What a Triton's machine says of memory: limits, processes, the text in between, and who is asked."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from services.core.errors import UpstreamFailure
from services.core.memory.report import MemoryReport, Space, VersionMemory
from services.core.memory.terms import MIB
from services.core.replica_address import ReplicaAddress
from services.process.ports import choose_free_port, listen_shared
from services.triton.layout import RepositoryLayout
from services.triton.memory.exposition import exposed, report_in
from services.triton.memory.machine import host_space
from services.triton.memory.needs import need_of
from services.triton.memory.processes import private_bytes, version_memory
from services.triton.memory.reporter import MemoryReporter, read_report
from services.triton.memory.source import TritonMemory
from services.triton.stub_watch import StubWatch
from tests.fakes.onnx_repository import scale

pytestmark = pytest.mark.anyio
GIB = 1024 * MIB
REPORT = MemoryReport(
    Space(8 * GIB, 3 * GIB),
    {"GPU-1": Space(24 * GIB, 20 * GIB)},
    {("m", 1): VersionMemory(100 * MIB, 2, 1764000000.25), ("n.b-c", 12): VersionMemory(5 * MIB, 1, 7.0)},
)
TRITON = """# HELP nv_cpu_memory_total_bytes CPU total memory (RAM), in bytes
nv_cpu_memory_total_bytes 25276510208
nv_cpu_memory_used_bytes 990613504
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 1000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 400
nv_inference_count{model="m",version="1"} 3
"""


def test_a_report_is_the_same_after_it_was_written_and_read() -> None:
    assert report_in(exposed(REPORT)) == REPORT
    assert report_in(exposed(MemoryReport())) == MemoryReport()


def test_tritons_own_metrics_say_what_the_machine_and_the_gpus_have() -> None:
    found = report_in(TRITON)
    assert found == MemoryReport(Space(25276510208, 25276510208 - 990613504), {"GPU-1": Space(1000, 600)})
    assert report_in(TRITON.replace("25276510208", "0")).host is None, "in its first seconds it says 0"


@pytest.mark.parametrize("value", ["NaN", "-1", "lots", "+Inf"])
def test_a_number_that_is_none_is_an_error(value: str) -> None:
    with pytest.raises(UpstreamFailure, match="expected a number of bytes"):
        report_in(f"nv_cpu_memory_total_bytes {value}\n")


def group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_limit_above_the_process_counts_without_what_the_kernel_gives_back(
    tmp_path: Path, version: int
) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/pod/triton\n1:cpu:/elsewhere\n" if version == 1 else "0::/pod/triton\n")
    root = tmp_path / "memory" if version == 1 else tmp_path
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit, used, cache = names if version == 1 else ("memory.max", "memory.current", "inactive_file")
    none = 2**63 - 4096 if version == 1 else "max"
    stat = f"anon 1\n{cache} {50 * MIB}"
    group(root / "pod" / "triton", {limit: none, used: 7, "memory.stat": stat})
    group(root / "pod", {limit: 400 * MIB, used: 350 * MIB, "memory.stat": stat})
    assert host_space(tmp_path, own) == Space(400 * MIB, 100 * MIB)


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    found = host_space(tmp_path, tmp_path / "none")
    assert found.total_bytes == psutil.virtual_memory().total
    assert 0 < found.available_bytes <= found.total_bytes


@contextmanager
def stub(root: Path, model: str, version: int, mib: int) -> Iterator[int]:
    """A process that looks like one of the Python backend's and holds so much memory of its own."""
    program = root / "triton_python_backend_stub"
    if not program.exists():
        shutil.copy(Path(sys.executable).resolve(), program)
    path = root / model / str(version) / "model.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"import time\nheld = bytearray(b'x') * ({mib} << 20)\nprint('.', flush=True)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    with subprocess.Popen([str(program), str(path)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b".\n"
            yield process.pid
        finally:
            process.kill()


def test_the_private_memory_of_each_versions_processes_is_told_apart(tmp_path: Path) -> None:
    began = time.time()
    with stub(tmp_path, "m", 1, 8) as one, stub(tmp_path, "m", 2, 64), stub(tmp_path, "m", 2, 64):
        found = version_memory(StubWatch(os.getpid(), tmp_path))
        assert found["m", 1].private_bytes == pytest.approx(private_bytes(one), abs=MIB)
    assert set(found) == {("m", 1), ("m", 2)}
    assert (found["m", 1].processes, found["m", 2].processes) == (1, 2)
    assert 8 * MIB <= found["m", 1].private_bytes < 30 * MIB
    assert 128 * MIB <= found["m", 2].private_bytes < 170 * MIB
    assert found["m", 2].started_at == pytest.approx(began, abs=15.0)


@contextmanager
def listening() -> Iterator[socket.socket]:
    [listener] = listen_shared("127.0.0.1", 0, 1)
    try:
        yield listener
    finally:
        listener.close()


async def test_the_reporter_tells_the_controller_over_http(tmp_path: Path) -> None:
    with listening() as listener, stub(tmp_path, "m", 1, 8):
        nowhere = choose_free_port()
        reporter = MemoryReporter(listener, RepositoryLayout(tmp_path), os.getpid, lambda: ("127.0.0.1", nowhere))
        async with reporter:
            found = await read_report("127.0.0.1", reporter.port, 5.0)
            named = ReplicaAddress("127.0.0.1", 1, 2, reporter.port)
            derived = ReplicaAddress("127.0.0.1", reporter.port - 3, 2)
            metrics = ReplicaAddress("127.0.0.1", reporter.port - 2, 3)
            away = ReplicaAddress("127.0.0.1", 3, 4, nowhere)
            reports = await TritonMemory(lambda: [named, derived, metrics, away]).reports()
    assert set(found.versions) == {("m", 1)}
    assert found.host is not None
    assert set(reports.known) == {named.name, derived.name, metrics.name}
    assert set(reports.problems) == {away.name}


async def test_who_says_nothing_of_memory_is_named_with_the_reason(tmp_path: Path) -> None:
    nowhere = choose_free_port()
    with listening() as listener:
        reporter = MemoryReporter(listener, RepositoryLayout(tmp_path), lambda: None, lambda: ("127.0.0.1", nowhere))
        async with reporter:
            assert (await read_report("127.0.0.1", reporter.port, 5.0)).versions == {}, "between two runs"
    away = ReplicaAddress("127.0.0.1", 1, 2, nowhere)
    reports = await TritonMemory(lambda: [away]).reports()
    assert reports.known == {}
    assert f"port {nowhere}" in reports.problem
    assert "no Triton" in (await TritonMemory(list).reports()).problem


def test_what_a_candidate_needs_is_read_from_the_repository(tmp_path: Path) -> None:
    scale(tmp_path, versions=(1, 2, 3))
    (tmp_path / "scale" / "2" / "weights.bin").write_bytes(b"x" * 5000)
    (tmp_path / "scale" / "2" / "warmup.npz").write_bytes(b"x" * 9000)
    need = need_of(RepositoryLayout(tmp_path), "scale", 1, (2, 3))
    model = (tmp_path / "scale" / "2" / "model.onnx").stat().st_size
    assert need.challengers == {2: model + 5000, 3: model}
    assert (need.host_instances, need.gpu_instances) == (1, 0)
    assert need.stable_bytes == (tmp_path / "scale" / "1" / "model.onnx").stat().st_size
    config = tmp_path / "scale" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1 kind: KIND_CPU", "count: 3 kind: KIND_GPU"))
    need = need_of(RepositoryLayout(tmp_path), "scale", 1, (2, 3))
    assert (need.host_instances, need.gpu_instances) == (0, 3)
