"""Room for a candidate: what it needs, what there is, and what is said where nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.core.errors import InvalidRequest
from services.core.memory.preflight import OVERHEAD_BYTES, Need, preflight
from services.core.memory.report import MemoryReport, MemoryReports, Space, VersionMemory
from services.core.memory.terms import MIB, LeakCheck, MemoryTerms, OnUnknown
from services.core.rollouts.rollout_spec import RolloutSpec

GIB = 1024 * MIB
NEED = Need("m", 1, 100 * MIB, {2: 500 * MIB}, host_instances=2, gpu_instances=0)
TERMS = MemoryTerms()


def at(available: int, total: int = 16 * GIB, **more: object) -> MemoryReport:
    return MemoryReport(Space(total, available), **more)  # type: ignore[arg-type]


def test_room_is_what_is_left_beside_the_reserve() -> None:
    needed = 2 * (2 * 500 * MIB + OVERHEAD_BYTES)
    reserve = 16 * GIB // 10
    enough = preflight(NEED, TERMS, MemoryReports({"a": at(needed + reserve + MIB)}))
    assert enough.may_load
    assert "about 2.1 GiB are needed" in enough.text
    short = preflight(NEED, TERMS, MemoryReports({"a": at(needed + reserve - MIB)}))
    assert not short.may_load
    for words in ("version 2 needs about 2.1 GiB (2 x 1.0 GiB)", "a has 3.7 GiB left of 16.0 GiB", "1.6 GiB must stay"):
        assert words in short.text
    assert "--memory-reserve" in short.text
    assert preflight(NEED, replace(TERMS, reserve=0.0), MemoryReports({"a": at(needed)})).may_load


def test_one_server_without_room_is_enough_to_load_nothing() -> None:
    found = preflight(NEED, TERMS, MemoryReports({"a": at(8 * GIB), "b": at(GIB)}, {"c": "away"}))
    assert not found.may_load
    assert "b has 1.0 GiB left" in found.text
    assert "a has" not in found.text


def test_what_stable_takes_beside_its_files_is_what_an_instance_costs() -> None:
    heavy = {("m", 1): VersionMemory(2 * (200 * MIB + 3 * GIB), 2, 1.0)}
    assert not preflight(NEED, TERMS, MemoryReports({"a": at(8 * GIB, versions=heavy)})).may_load
    assert preflight(NEED, TERMS, MemoryReports({"a": at(10 * GIB, versions=heavy)})).may_load
    light = {("m", 1): VersionMemory(100 * MIB, 2, 1.0)}
    text = preflight(NEED, TERMS, MemoryReports({"a": at(8 * GIB, versions=light)})).text
    assert "about 2.0 GiB are needed" in text


def test_a_server_that_has_the_candidate_needs_no_more_room() -> None:
    there = {("m", 2): VersionMemory(MIB, 2, 1.0)}
    assert preflight(NEED, TERMS, MemoryReports({"a": at(0, versions=there)})).may_load


@pytest.mark.parametrize(
    "reports",
    [MemoryReports(), MemoryReports(problems={"a": "port 8003: refused"}), MemoryReports({"a": MemoryReport()})],
)
def test_what_is_not_known_is_said_and_may_be_refused(reports: MemoryReports) -> None:
    on = preflight(NEED, TERMS, reports)
    assert on.may_load
    assert on.text.startswith("memory not known: ")
    refused = preflight(NEED, replace(TERMS, on_unknown=OnUnknown.REFUSE), reports)
    assert not refused.may_load
    assert "penstock triton" in refused.text


def test_an_engine_needs_room_on_every_gpu() -> None:
    need = replace(NEED, host_instances=0, gpu_instances=2)
    gpus = {"GPU-1": Space(24 * GIB, 20 * GIB), "GPU-2": Space(24 * GIB, 4 * GIB)}
    short = preflight(need, TERMS, MemoryReports({"a": at(8 * GIB, gpus=gpus)}))
    assert not short.may_load
    assert "a GPU GPU-2 has 4.0 GiB left of 24.0 GiB" in short.text
    assert "2.1 GiB of each GPU (2 x 1.0 GiB)" in short.text
    assert preflight(need, TERMS, MemoryReports({"a": at(8 * GIB, gpus={"GPU-1": gpus["GPU-1"]})})).may_load
    assert preflight(need, TERMS, MemoryReports({"a": at(8 * GIB)})).text.startswith("memory not known: a GPU")


@pytest.mark.parametrize(
    "wrong",
    [
        {"reserve": 1.0},
        {"reserve": float("nan")},
        {"max_growth_mib_per_h": -1.0},
        {"window_s": 199.0},
        {"interval_s": 0.0},
        {"max_growth_share_per_h": float("inf")},
    ],
)
def test_terms_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        MemoryTerms(**wrong)  # type: ignore[arg-type]


def test_a_step_that_must_be_watched_is_given_the_time() -> None:
    required = MemoryTerms(leak_check=LeakCheck.REQUIRE, window_s=4000.0)
    with pytest.raises(InvalidRequest, match="raise max_step_duration_s"):
        RolloutSpec("m", 2, memory=required)
    assert RolloutSpec("m", 2, memory=required, max_step_duration_s=5000.0).memory is required


TEST = replace(NEED, challengers={2: 500 * MIB, 4: 300 * MIB})
"""An A/B test of two versions beside stable."""


def test_the_arms_of_an_a_b_test_must_fit_together() -> None:
    each = {version: 2 * (2 * files + OVERHEAD_BYTES) for version, files in TEST.challengers.items()}
    reserve = 16 * GIB // 10
    together = sum(each.values()) + reserve
    enough = preflight(TEST, TERMS, MemoryReports({"a": at(together + MIB)}))
    assert enough.may_load
    assert "about 3.4 GiB are needed" in enough.text
    short = preflight(TEST, TERMS, MemoryReports({"a": at(together - MIB)}))
    assert not short.may_load, "each of them alone would fit"
    for words in (
        "version 2 needs about 2.1 GiB (2 x 1.0 GiB), version 4 needs about 1.3 GiB (2 x 664 MiB)",
        "1.6 GiB must stay free and about 3.4 GiB are needed in all",
    ):
        assert words in short.text


def test_of_the_arms_only_those_that_a_server_lacks_need_room() -> None:
    beside_four = {("m", 4): VersionMemory(MIB, 2, 1.0)}
    needed = 2 * (2 * 500 * MIB + OVERHEAD_BYTES) + 16 * GIB // 10
    assert preflight(TEST, TERMS, MemoryReports({"a": at(needed + MIB, versions=beside_four)})).may_load
    short = preflight(TEST, TERMS, MemoryReports({"a": at(needed - MIB, versions=beside_four)}))
    assert not short.may_load
    assert "in all" not in short.text
    both = {**beside_four, ("m", 2): VersionMemory(MIB, 2, 1.0)}
    there = preflight(TEST, TERMS, MemoryReports({"a": at(0, versions=both)}))
    assert (there.may_load, there.text) == (True, "memory: a has them already")


def test_engines_of_all_arms_must_fit_together_on_every_gpu() -> None:
    need = replace(TEST, host_instances=0, gpu_instances=1)
    wanted = (2 * 800 * MIB + 2 * OVERHEAD_BYTES) + 24 * GIB // 10
    host = Space(16 * GIB, 16 * GIB // 10 + 801 * MIB)
    enough = MemoryReport(host, gpus={"GPU-1": Space(24 * GIB, wanted + MIB)})
    assert preflight(need, TERMS, MemoryReports({"a": enough})).may_load
    short = preflight(need, TERMS, MemoryReports({"a": replace(enough, gpus={"GPU-1": Space(24 * GIB, wanted - MIB)})}))
    assert not short.may_load
    assert "a GPU GPU-1 has" in short.text
    no_host = replace(enough, host=Space(16 * GIB, 16 * GIB // 10 + 799 * MIB))
    assert not preflight(need, TERMS, MemoryReports({"a": no_host})).may_load, "both pass through the host"
