"""Defaults, then the file, then the environment, then the flags; unknown configuration is never a default."""

from pathlib import Path

import pytest

from services.cli.settings import Settings, load_settings, triton_targets, under_section
from services.core.errors import ConfigurationError


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "penstock.yaml"
    file.write_text("gateway: {http_port: 1111, grpc_port: 2222, workers: 3}\n")
    environment = {"PENSTOCK_GATEWAY_GRPC_PORT": "0", "PENSTOCK_GATEWAY_WORKERS": "5", "HOME": "/"}
    settings = load_settings(environment, file, {"gateway.workers": 7, "repository": None})
    gateway = settings.gateway
    assert (gateway.http_port, gateway.grpc_port, gateway.workers, gateway.metrics_port) == (1111, 0, 7, 8002)
    assert settings.repository == Path("model_repository")


@pytest.mark.parametrize(
    ("environment", "flags", "words"),
    [
        ({"PENSTOCK_GATEWAY_HTP_PORT": "1"}, {}, "did you mean PENSTOCK_GATEWAY_HTTP_PORT"),
        ({"PENSTOCK_GATEWAY_HTTP_PORT": "eighty"}, {}, "PENSTOCK_GATEWAY_HTTP_PORT"),
        ({"PENSTOCK_TRITON_HTTP_PORT": "70000"}, {}, "70000"),
        ({"PENSTOCK_CONFIG": "penstock.yaml"}, {}, "unknown environment variable PENSTOCK_CONFIG"),
        ({}, {"gateway.workers": 0}, "--workers"),
        ({"PENSTOCK_CONTROLLER_AUDIT_DAYS": "0"}, {}, r"PENSTOCK_CONTROLLER_AUDIT_DAYS \(controller\.audit_days\).*1"),
        ({"PENSTOCK_CONTROLLER_AUDIT_DAYS": "for ever"}, {}, r"PENSTOCK_CONTROLLER_AUDIT_DAYS.*'for ever'"),
    ],
)
def test_a_wrong_value_is_traced_to_its_source(
    environment: dict[str, str], flags: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_settings(environment, None, flags)


def test_a_named_settings_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings({}, tmp_path / "penstock.yaml", {})


def test_a_verbs_flags_belong_to_its_section_even_where_one_is_named_like_another_section() -> None:
    flags = under_section("gateway", {"triton": "10.0.0.1:8000", "state_dir": "x", "http_port": 1})
    assert flags == {"gateway.triton": "10.0.0.1:8000", "state_dir": "x", "gateway.http_port": 1}
    settings = load_settings({}, None, flags)
    assert _written(settings, settings.gateway.triton) == ["10.0.0.1:8000/8001"]
    assert _written(settings, settings.controller.triton) == ["127.0.0.1:18000/18001/18003"]
    with pytest.raises(ConfigurationError, match=r"gateway\.triton"):
        triton_targets(settings, "http://x", "gateway.triton")


def test_several_tritons_are_a_list_a_name_or_ports_ten_apart() -> None:
    settings = load_settings({"PENSTOCK_TRITON_REPLICAS": "2"}, None, {})
    assert _written(settings, None) == ["127.0.0.1:18000/18001/18003", "127.0.0.1:18010/18011/18013"]
    assert _written(settings, "a:1/7, [::1]:2") == ["a:1/7", "[::1]:2/3"]
    assert str(triton_targets(settings, "dns:triton.svc:8000", "x")) == "dns:triton.svc:8000/8001"


def test_the_bounds_are_settings_like_all_others(tmp_path: Path) -> None:
    assert load_settings({"PENSTOCK_GATEWAY_LIMITS_MAX_RANK": "8"}, None, {}).gateway.limits.max_rank == 8
    file = tmp_path / "penstock.yaml"
    file.write_text("gateway:\n  limits:\n    max_ranc: 3\n")
    with pytest.raises(ConfigurationError, match=r"penstock\.yaml:3: unknown key .*did you mean 'max_rank'"):
        load_settings({}, file, {})
    file.write_text("gateway:\n  limits:\n    max_rank: 0\n")
    with pytest.raises(ConfigurationError, match=r"penstock\.yaml:3: gateway\.limits\.max_rank"):
        load_settings({}, file, {})


def _written(settings: Settings, asked: str | None) -> list[str]:
    targets = triton_targets(settings, asked, "x")
    assert isinstance(targets, tuple)
    return [str(target) for target in targets]
