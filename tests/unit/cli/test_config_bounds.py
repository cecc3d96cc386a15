"""The table of bounds in ARCHITECTURE.md is the one that the program prints."""

from __future__ import annotations

from pathlib import Path

from services.cli.config import bounds_table

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"


def test_the_documented_bounds_are_the_ones_in_force() -> None:
    _, begin, rest = ARCHITECTURE.read_text(encoding="utf-8").partition("<!-- bounds:begin -->")
    section, end, _ = rest.partition("<!-- bounds:end -->")
    assert begin
    assert end
    assert section.strip() == bounds_table(), "run `penstock config bounds` and put its output between the markers"
