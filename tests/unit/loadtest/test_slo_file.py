"""An SLO file is read strictly: what is unknown, impossible or empty is an error with the name of the key."""

from pathlib import Path

import pytest

from loadtest.run import override
from loadtest.slo_file import load_slo, parse_slo
from services.core.errors import ConfigurationError

LEAST = {"target": {"model": "m"}, "objectives": {"p99_ms": 10}}


def test_the_example_of_the_project_is_right() -> None:
    spec = load_slo(Path(__file__).parents[3] / "loadtest" / "slo.yaml")
    assert spec.target.protocols == ("rest", "grpc")
    assert spec.load.rate_per_s * spec.load.duration_s >= 1000, "its p99 needs 1,000 samples"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objectives": {}}, "at least one objective"),
        ({"objectives": {"p98_ms": 1}}, "objectives.p98_ms"),
        ({"objectives": {"p99_ms": 0}}, "objectives.p99_ms"),
        ({"objectives": {"error_rate": 1.5}}, "objectives.error_rate"),
        ({"objectives": {"correctness": 98}}, "objectives.correctness"),
        ({"objectives": {"p99_ms": float("nan")}}, "objectives.p99_ms"),
        ({"target": {"model": "m", "rest": "http://localhost:8000"}}, "without http://"),
        ({"target": {"model": "m", "rest": "localhost"}}, "HOST:PORT"),
        ({"target": {"model": "m", "grpc": "localhost:99999"}}, "HOST:PORT"),
        ({"target": {"model": "m", "protocol": "http"}}, "target.protocol"),
        ({"target": {"model": "m", "version": 0}}, "target.version"),
        ({"target": {}}, "target.model"),
        ({"load": {"rate_per_s": 0}}, "load.rate_per_s"),
        ({"load": {"rate_per_s": float("nan")}}, "load.rate_per_s"),
        ({"load": {"duration_s": float("inf")}}, "load.duration_s"),
        ({"load": {"connections": 1}}, "connections must be at least 2"),
        ({"objectives": {"throughput_per_s": 101}}, "cannot be reached"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_key(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_slo({**LEAST, **change}, "slo.yaml")
    assert str(caught.value).startswith("slo.yaml: ")


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "target: 1\n"])
def test_a_file_that_is_no_such_document_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"slo\.yaml"):
        load_slo(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_slo(tmp_path / "none.yaml")


def test_the_command_line_wins_over_the_file_and_is_checked_as_it_is() -> None:
    spec = parse_slo(LEAST, "slo.yaml")
    changed = override(spec, "slo.yaml", load__rate_per_s=7.0, target__rest="[::1]:80", load__duration_s=None)
    assert (changed.load.rate_per_s, changed.target.rest) == (7.0, "[::1]:80")
    assert changed.load.duration_s == spec.load.duration_s
    with pytest.raises(ConfigurationError, match="rate_per_s"):
        override(spec, "slo.yaml", load__rate_per_s=-1.0)
