"""A log file within a bound."""

from __future__ import annotations

from pathlib import Path

from services.process.bounded_log import BoundedLog


def test_what_is_too_large_moves_to_the_older_file_and_the_writer_goes_on(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "a.log", max_bytes=10)
    with log.open() as writer:
        writer.write(b"a long first line\n")
        writer.flush()
        assert log.trim()
        assert not log.trim()
        writer.write(b"second\n")
    assert (tmp_path / "a.log.1").read_text() == "a long first line\n"
    assert log.path.read_bytes() == b"second\n"


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "a.log")
    assert log.tail() == ""
    assert not log.trim()
    log.path.write_text("".join(f"line {i}\n" for i in range(5000)))
    assert log.tail(2) == "line 4998\nline 4999"
