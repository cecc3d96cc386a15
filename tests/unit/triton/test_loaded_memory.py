"""What was loaded, remembered across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.triton.loaded_memory import LoadedMemory

BOTH = {"digits": frozenset({1, 2}), "cats": frozenset({4})}
ONE = {"digits": frozenset({1})}


def test_what_was_loaded_is_there_after_a_restart(tmp_path: Path) -> None:
    memory = LoadedMemory(tmp_path / "state" / "loaded.json")
    assert memory.loaded == {}
    memory.observe(BOTH)
    assert LoadedMemory(tmp_path / "state" / "loaded.json").loaded == BOTH


def test_a_set_that_shrinks_is_believed_when_it_is_seen_twice(tmp_path: Path) -> None:
    memory = LoadedMemory(tmp_path / "loaded.json")
    memory.observe(BOTH)
    memory.observe(ONE)
    assert memory.loaded == BOTH
    memory.observe(ONE)
    assert memory.loaded == ONE


def test_a_triton_that_unloads_its_models_one_by_one_erases_nothing(tmp_path: Path) -> None:
    memory = LoadedMemory(tmp_path / "loaded.json")
    memory.observe(BOTH)
    for dying in (ONE, {}, ONE):
        memory.observe(dying)
    assert memory.loaded == BOTH


def test_a_version_that_is_exchanged_is_remembered_after_two_looks(tmp_path: Path) -> None:
    memory = LoadedMemory(tmp_path / "loaded.json")
    memory.observe({"digits": frozenset({1})})
    for _ in range(2):
        memory.observe({"digits": frozenset({2})})
    assert memory.loaded == {"digits": frozenset({2})}


@pytest.mark.parametrize("text", ["", "[]", '{"digits": 3}', '{"digits": ["x"]}', "\x00"])
def test_a_file_that_is_damaged_means_nothing_remembered(tmp_path: Path, text: str) -> None:
    (tmp_path / "loaded.json").write_text(text)
    assert LoadedMemory(tmp_path / "loaded.json").loaded == {}


def test_a_disk_that_takes_nothing_does_not_end_the_supervision(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = LoadedMemory(tmp_path / "file" / "loaded.json")
    memory.observe(BOTH)
    assert memory.loaded == BOTH
