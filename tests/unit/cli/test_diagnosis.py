"""What a machine lacks is named with its remedy."""

import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from services.cli import diagnosis
from services.cli.console import Console
from services.cli.main import cli
from services.cli.settings import listening, load_settings
from services.cli.stack import choose_endpoints
from services.core.errors import ConfigurationError, MissingDependency


def test_a_taken_port_is_found_with_the_setting_to_change() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = load_settings(
            {"PENSTOCK_GATEWAY_HTTP_PORT": str(port), "PENSTOCK_CONTROLLER_HTTP_PORT": "0"}, None, {}
        )
        findings = {finding.name: finding for finding in diagnosis.check_ports(settings)}
        with pytest.raises(ConfigurationError, match=r"gateway\.http_port"):
            choose_endpoints(settings)
    assert not findings["gateway.http_port"].ok
    assert str(port) in findings["gateway.http_port"].detail
    assert "gateway.http_port" in findings["gateway.http_port"].remedy
    assert findings["controller.http_port"].ok


def test_two_parts_on_one_port_are_refused_before_anything_starts() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = str(probe.getsockname()[1])
    environment = {"PENSTOCK_GATEWAY_HTTP_PORT": free, "PENSTOCK_TRITON_HTTP_PORT": free}
    with pytest.raises(ConfigurationError, match=rf"gateway\.http_port are both {free}"):
        choose_endpoints(load_settings(environment, None, {}))


def test_zero_chooses_a_port_of_its_own_for_each_part() -> None:
    names = [f"PENSTOCK_{part}_PORT" for part in ("GATEWAY_HTTP", "GATEWAY_GRPC", "GATEWAY_METRICS", "CONTROLLER_HTTP")]
    names += [f"PENSTOCK_{part}_PORT" for part in ("CONTROLLER_GRPC", "TRITON_HTTP", "TRITON_GRPC", "TRITON_METRICS")]
    names += ["PENSTOCK_TRITON_MEMORY_PORT"]
    zeros = dict.fromkeys(names, "0") | {"PENSTOCK_TRITON_REPLICAS": "3"}
    chosen = choose_endpoints(load_settings(zeros, None, {}))
    numbers = [value for value in asdict(chosen).values() if isinstance(value, int)]
    for triton in chosen.tritons:
        numbers += [triton.http_port, triton.grpc_port, triton.metrics_port, triton.memory_port]
    assert len(numbers) == 5 + 3 * 4
    assert len(set(numbers)) == len(numbers)
    assert 0 not in numbers


def test_further_tritons_have_ports_ten_higher_each() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = min(probe.getsockname()[1], 65000)
    settings = load_settings({"PENSTOCK_TRITON_REPLICAS": "2", "PENSTOCK_TRITON_HTTP_PORT": str(port)}, None, {})
    asked = listening(settings)
    assert asked["triton.http_port"][1] == port
    assert asked["triton.http_port of replica 2"][1] == port + 10


def test_a_missing_triton_stops_up_with_a_remedy(tmp_path: Path) -> None:
    settings = load_settings(
        {"PENSTOCK_TRITON_EXECUTABLE": str(tmp_path / "none"), "PENSTOCK_STATE_DIR": str(tmp_path)}, None, {}
    )
    with pytest.raises(MissingDependency) as caught:
        diagnosis.require(settings)
    assert "none" in caught.value.message
    assert caught.value.remedy


def test_a_state_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    finding = diagnosis.check_state_directory(tmp_path / "state")
    assert not finding.ok
    assert "--state-dir" in finding.remedy


def test_a_repository_without_a_version_says_how_to_make_one(tmp_path: Path) -> None:
    finding = diagnosis.check_repository(tmp_path)
    assert not finding.ok
    assert finding.remedy.startswith("penstock build ")


def test_a_state_directory_that_cannot_be_written_is_found_whoever_asks(tmp_path: Path) -> None:
    """Root may write everywhere by the mode bits, and yet /proc takes no file."""
    finding = diagnosis.check_state_directory(Path("/proc/penstock"))
    assert not finding.ok
    settings = load_settings({"PENSTOCK_STATE_DIR": "/proc/penstock"}, None, {})
    with pytest.raises(ConfigurationError, match=r"/proc/penstock cannot be written.*--state-dir"):
        diagnosis.require(settings)
    before = list(tmp_path.iterdir())
    assert diagnosis.check_state_directory(tmp_path / "made" / "later").ok
    assert list(tmp_path.iterdir()) == before, "looking leaves nothing behind"


def test_up_without_a_repository_says_so_before_anything_starts(tmp_path: Path) -> None:
    asked = ["up", "--repository", str(tmp_path / "none"), "--state-dir", str(tmp_path / "state"), "--free-ports"]
    with pytest.raises(ConfigurationError, match=r"none cannot be read .*name a directory of models"):
        cli.main(asked, standalone_mode=False, obj=Console())
    assert not (tmp_path / "state").exists()


def test_a_model_that_is_not_in_order_is_a_finding_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.pbtxt").touch()
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "linked").symlink_to(tmp_path / "elsewhere")
    finding = diagnosis.check_repository(tmp_path / "repository")
    assert not finding.ok
    assert "linked is a link" in finding.detail
    assert "linked" in finding.remedy
