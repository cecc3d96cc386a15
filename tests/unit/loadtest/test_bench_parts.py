"""The system's parts start, end and are found again; variants and settings are read strictly."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench.model import LARGE, MODELS, SMALL
from loadtest.bench.part import Part, owned
from loadtest.bench.ports import free_ports
from loadtest.bench.system import System, merged
from loadtest.bench.variables import of_gateways
from loadtest.bench.variants import Variant, parse, scaling, tracing
from loadtest.connection import HttpConnection
from loadtest.record import Failure
from services.core.errors import ConfigurationError, PenstockError

STUBBORN = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
CHILD = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', 'the-child']); "


def part(tmp_path: Path, program: str) -> Part:
    return Part("one", [sys.executable, "-c", program], tmp_path / "one.log", rest="127.0.0.1:1")


def child_of(parent: Part) -> int:
    def found() -> bool:
        with contextlib.suppress(PenstockError):
            return parent.child("the-child").pid > 0
        return False

    assert _within_10_s(found)
    return parent.child("the-child").pid


def _within_10_s(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    one = part(tmp_path, STUBBORN + CHILD + "sum(range(3_000_000)); time.sleep(60)")
    one.start()
    child = child_of(one)
    assert _within_10_s(lambda: one.cpu_s() > 0)
    assert one.stop(timeout_s=0.2) == -9
    assert one.family() == []
    assert not _runs(child)


def test_a_process_that_ends_by_itself_has_died_and_one_that_was_stopped_has_not(tmp_path: Path) -> None:
    one = part(tmp_path, "print('the reason'); raise SystemExit(3)")
    assert one.died() is None
    one.start()
    assert _within_10_s(lambda: one.died() is not None)
    assert one.died() == 3
    assert one.tail() == "the reason"
    assert one.stop() == 3
    assert one.died() is None


def test_restart_gives_a_new_process_and_kill_ends_it(tmp_path: Path) -> None:
    one = part(tmp_path, "import time; time.sleep(60)")
    one.start()
    first = one.family()[0].pid
    one.restart()
    second = one.family()[0].pid
    assert first != second
    one.kill()
    assert not _runs(first)
    assert not _runs(second)


def test_the_settings_of_a_shell_reach_no_part_and_what_is_set_on_purpose_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_CONTROLLER_DATABASE_URL", "postgresql://production/penstock")
    monkeypatch.setenv("PENSTOCK_GATEWAY_LIMITS_MAX_RANK", "4")
    monkeypatch.setenv("PENSTOCK_TRITON_EXECUTABLE", "/opt/tritonserver")
    program = "import os; print(*sorted(f'{name}={os.environ[name]}' for name in os.environ if 'PENSTOCK' in name))"
    one = Part(
        "one",
        [sys.executable, "-c", program],
        tmp_path / "one.log",
        rest="127.0.0.1:1",
        environment={"PENSTOCK_GATEWAY_WORKERS": "3"},
    )
    one.start()
    assert _within_10_s(lambda: one.died() is not None)
    assert one.tail() == "PENSTOCK_GATEWAY_WORKERS=3 PENSTOCK_TRITON_EXECUTABLE=/opt/tritonserver"
    assert of_gateways(os.environ) == {"PENSTOCK_GATEWAY_LIMITS_MAX_RANK": "4"}


def test_gateways_alone_get_the_variables_of_a_system(tmp_path: Path) -> None:
    system = System(tmp_path, tmp_path, variables={"PENSTOCK_GATEWAY_LIMITS_MAX_RANK": "4"})
    assert [bool(part._environment) for part in system.parts] == [False, False, True]


def test_every_part_of_a_system_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    pid_of = "open(sys.argv[1], 'w').write(str(os.getpid()))"
    program = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "from loadtest.bench.part import owned\n"
        f"child = [sys.executable, '-c', \"import os, sys, time; {pid_of}; time.sleep(60)\", sys.argv[1]]\n"
        "subprocess.Popen(owned(child), start_new_session=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists() or not pathlib.Path(sys.argv[1]).read_text():\n"
        "    time.sleep(0.02)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pid = tmp_path / "pid"
    done = subprocess.run([sys.executable, "-c", program, str(pid)], check=False, timeout=60)
    assert done.returncode == -9
    assert _within_10_s(lambda: not _runs(int(pid.read_text())))
    for part in System(tmp_path, tmp_path).parts:
        assert part._command[: len(owned([]))] == owned([])


def test_free_ports_are_in_a_row_and_can_be_taken() -> None:
    ports = free_ports(5)
    assert ports == list(range(ports[0], ports[0] + 5))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[2]))
        taken.listen()
        with pytest.raises(PenstockError, match="no 1 free ports"):
            free_ports(1, range(ports[2], ports[2] + 1))


def test_settings_of_a_further_gateway_are_put_over_the_common_ones() -> None:
    below = {"gateway": {"workers": 2, "limits": {"drain_s": 3, "max_rank": 8}}}
    above = {"gateway": {"limits": {"max_rank": 4}}, "controller": {"tick_s": 1}}
    assert merged(below, above) == {
        "gateway": {"workers": 2, "limits": {"drain_s": 3, "max_rank": 4}},
        "controller": {"tick_s": 1},
    }
    assert below["gateway"]["limits"] == {"drain_s": 3, "max_rank": 8}


def test_a_variant_names_settings_and_workers() -> None:
    (one, two) = parse(["traced: gateway.tracing.ratio=0.01, gateway.tracing.on=true", "one: workers=1"])
    assert one == Variant("traced", None, {"gateway": {"tracing": {"ratio": 0.01, "on": True}}})
    assert two == Variant("one", 1, {})
    assert [variant.name for variant in scaling({2, 1})] == ["1 worker", "2 workers"]


def test_traced_gateways_export_to_the_same_place_and_differ_in_the_share() -> None:
    none, some = tracing("http://127.0.0.1:1/v1/traces")
    assert (none.name, some.name) == ("traced 0%", "traced 1%")
    assert none.settings["gateway"]["tracing"] == {"endpoint": "http://127.0.0.1:1/v1/traces", "sample_ratio": 0.0}
    assert some.settings["gateway"]["tracing"]["sample_ratio"] == 0.01


def test_the_sink_takes_what_is_posted_on_one_connection(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    one = Part("sink", [sys.executable, "-m", "loadtest.bench.sink", address], tmp_path / "log", rest=address)
    one.start()
    http = HttpConnection(address, 5.0)
    try:
        assert _within_10_s(lambda: not isinstance(http.exchange("POST", "/v1/traces", "", b"x"), Failure))
        for size in (0, 1, 100_000):
            outcome = http.exchange("POST", "/v1/traces", "", b"x" * size)
            assert not isinstance(outcome, Failure)
            assert (outcome[0], bytes(outcome[1].body)) == (200, b"")
    finally:
        http.close()
        one.stop()


@pytest.mark.parametrize("text", ["no colon", ": a=1", "gateway: a=1", "x: a", "x: workers=0", "x: workers=two"])
def test_a_wrong_variant_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--variant"):
        parse([text])


def test_the_models_samples_have_the_label_that_their_graph_gives(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    for model in MODELS:
        path = model.publish(tmp_path)
        data = model.sample()
        (y,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, dict(data.inputs))
        assert y.shape == (1, model.width)
        assert int(y.argmax()) == data.labels[0]
    assert SMALL.sample().inputs["x"].nbytes == 256
    assert LARGE.sample().inputs["x"].nbytes == 602_112


def _runs(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
