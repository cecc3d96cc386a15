"""The comparison's arithmetic, its table, its plot; a server without figures is a line with its reason."""

import json
from pathlib import Path

import pytest

from loadtest.peers.measure import Results, Sample
from loadtest.peers.plot import draw
from loadtest.peers.report import as_json, lines, markdown

FACTS = {"date": "2026-11-20", "cpu": "A CPU", "cores": 2, "h2load": "h2load 1", "rounds": 3, "seconds": 3.0}


def runs(peer: str, body: str, rates: dict[int, tuple[float, ...]]) -> list[Sample]:
    return [
        Sample(peer, body, concurrency, 1000, rate, 5e5 / rate, 2e6 / rate, 1e5 / rate, 0.04)
        for concurrency, of in rates.items()
        for rate in of
    ]


def results() -> Results:
    return Results(
        samples=[
            *runs("Triton direct", "JSON", {1: (2000.0,) * 3, 32: (8000.0, 10_000.0, 9000.0)}),
            *runs("Triton direct", "binary", {1: (2500.0,) * 3, 32: (12_000.0, 12_000.0, 12_000.0)}),
            *runs("Penstock", "JSON", {1: (1000.0,) * 3, 32: (5000.0, 6300.0, 7000.0)}),
        ],
        versions={"Triton direct": "as Penstock's", "Penstock": "this one", "BentoML": "1.4.39"},
        void={"BentoML": "status 503, expected 200", "MLServer": "cannot be installed"},
    )


def test_json_comes_first_and_each_figure_is_the_median_of_the_rounds() -> None:
    first, second, third = lines(results().samples)
    assert [(line.peer, line.body) for line in (first, second, third)] == [
        ("Triton direct", "JSON"), ("Penstock", "JSON"), ("Triton direct", "binary")
    ]  # fmt: skip
    cell = second.cells[32]
    assert (cell.requests_per_s.median, cell.requests_per_s.least, cell.requests_per_s.most) == (6300.0, 5000.0, 7000.0)
    assert cell.p99_us.median == pytest.approx(2e6 / 6300)
    assert cell.cpu_us.median == pytest.approx(1e5 / 6300)


def test_the_share_is_of_triton_with_the_same_body() -> None:
    table = markdown(results(), FACTS)
    assert "| Penstock | this one | JSON | 1,000 | 2.00 | 6,300 (5,000 to 7,000) | 0.32 | 16 | 0.70 |" in table
    assert table.count("| 1.00 |\n") == 2
    assert "at most 4% of the machine" in table


def test_a_server_without_figures_is_a_line_with_its_reason() -> None:
    table = markdown(results(), FACTS)
    assert "| BentoML | 1.4.39 | no figures: status 503, expected 200 |" in table
    assert "| MLServer |  | no figures: cannot be installed |" in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "every line has all columns"


def test_nothing_measured_is_a_table_of_reasons() -> None:
    table = markdown(Results(void={"Envoy": "no such program"}), FACTS)
    assert "| Envoy |  | no figures: no such program |" in table


def test_everything_is_in_the_json() -> None:
    document = json.loads(json.dumps(as_json(results(), FACTS)))
    assert len(document["samples"]) == 18
    assert document["void"]["BentoML"] == "status 503, expected 200"
    assert document["lines"][0]["cells"]["32"]["requests_per_s"]["median"] == 9000.0


def test_the_plot_is_the_same_bytes_for_the_same_figures_and_small(tmp_path: Path) -> None:
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    draw(lines(results().samples), 32, one)
    draw(lines(results().samples), 32, two)
    assert one.read_bytes() == two.read_bytes()
    assert len(one.read_bytes()) < 100_000
    assert "6,300" in one.read_text()
    assert "Penstock" in one.read_text()
