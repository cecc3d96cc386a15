"""What is done to the system, one experiment after the other. Each returns what its requests met."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence

import psutil

from loadtest.bench.part import Part
from loadtest.chaos.models import PLAIN
from loadtest.chaos.result import Promise, Result
from loadtest.chaos.stage import Stage

SERVER = "tritonserver"
# A request that takes longer waited for a replica that is sick; at this load the others answer in a few milliseconds.
SLOW_S = 0.25
EJECTED_WITHIN_S = 2.0
OVER_DEADLINE_SHARE = 0.001
_STOP_S = 5.0
_SICK_S = 10.0
_END_TIMEOUT_S = 60.0


def kill(stage: Stage, kills: int, least_requests: int) -> Result:
    """Kill one Triton after the other (SIGKILL); the next one only when the last one serves again."""
    begun, recovered_s, idle = time.monotonic(), list[float](), 0
    before, tritons = stage.requests, itertools.cycle(stage.system.tritons)
    for number in range(kills):
        triton = next(tritons)
        killed = time.monotonic()
        triton.child(SERVER).kill()
        idle += not stage.settle(triton)
        recovered_s.append(time.monotonic() - killed)
        stage.say(f"kill {number + 1}/{kills}: {triton.name} serves again after {recovered_s[-1]:.1f} s")
    while stage.requests - before < least_requests and stage.clients.running:
        time.sleep(0.5)
    summary = stage.since(begun)
    promises = [
        Promise("0 failed", summary.failed == 0),
        Promise(f"at least {least_requests} requests", summary.requests >= least_requests),
    ]
    facts = {"kills": kills, "back_s": _spread(recovered_s), "back_without_traffic": idle}
    return Result(f"SIGKILL of one Triton, {kills} times", summary, time.monotonic() - begun, promises, facts)


def stop(stage: Stage, stops: int) -> Result:
    """Stop one Triton after the other for 5 s (SIGSTOP): it hangs, with every connection open."""
    begun, harmed_s = time.monotonic(), list[float]()
    ejected_s: list[float | None] = []
    for number, triton in zip(range(stops), itertools.cycle(stage.system.tritons), strict=False):
        server, counts = triton.child(SERVER), stage.in_rotation(triton)
        stopped = time.monotonic()
        server.suspend()
        took_s = stage.await_ejection(triton, stopped, stopped + _STOP_S)
        time.sleep(max(0.0, stopped + _STOP_S - time.monotonic()))
        server.resume()
        resumed = time.monotonic()
        last = stage.clients.journal.between(stopped, resumed).last_slow_s(SLOW_S)
        stage.settle(triton)
        if counts:  # one that had no traffic cannot be ejected
            ejected_s.append(took_s)
            harmed_s.append(0.0 if last is None else last - stopped)
        words = "never" if took_s is None else f"after {took_s:.2f} s"
        stage.say(f"stop {number + 1}/{stops}: {triton.name} ejected {words if counts else 'already'}")
    summary = stage.since(begun)
    share = summary.over_deadline / max(1, summary.requests)
    times = [_STOP_S if took_s is None else took_s for took_s in ejected_s]
    promises = [
        Promise(f"ejected within {EJECTED_WITHIN_S:g} s", bool(times) and max(times) <= EJECTED_WITHIN_S),
        Promise(f"at most {OVER_DEADLINE_SHARE:.1%} over deadline", share <= OVER_DEADLINE_SHARE),
        Promise("0 failed otherwise", summary.failed == summary.over_deadline),
    ]
    facts = {
        "stops": len(times),
        "ejected_after_s": _spread(times),
        "last_slow_request_after_s": _spread(harmed_s),
        "over_deadline_share": share,
        "without_traffic": stops - len(times),
    }
    return Result(f"SIGSTOP of one Triton for 5 s, {stops} times", summary, time.monotonic() - begun, promises, facts)


def roll_tritons(stage: Stage) -> Result:
    """Restart every Triton in order, one after the other, as a rolling update does (SIGTERM)."""
    begun, ends_s = time.monotonic(), list[float]()
    for triton in stage.system.tritons:
        told = time.monotonic()
        triton.stop()
        ends_s.append(time.monotonic() - told)
        triton.start()
        stage.settle(triton)
        stage.say(f"restart: {triton.name} ended in {ends_s[-1]:.1f} s")
    summary = stage.since(begun)
    promises = [Promise("0 failed", summary.failed == 0)]
    facts = {"ended_s": _spread(ends_s)}
    return Result("rolling SIGTERM of all Tritons", summary, time.monotonic() - begun, promises, facts)


def end_servers(stage: Stage) -> Result:
    """Tell every server to end (SIGTERM), one after the other, behind the back of whoever started it."""
    begun, ends_s = time.monotonic(), list[float]()
    for triton in stage.system.tritons:
        server, told = triton.child(SERVER), time.monotonic()
        server.terminate()
        psutil.wait_procs([server], timeout=_END_TIMEOUT_S)
        ends_s.append(time.monotonic() - told)
        stage.settle(triton)
        stage.say(f"{triton.name}: its server ended in {ends_s[-1]:.1f} s, and another serves")
    summary = stage.since(begun)
    promises = [Promise("0 failed", summary.failed == 0)]
    facts = {"ended_s": _spread(ends_s)}
    return Result("SIGTERM of each server alone", summary, time.monotonic() - begun, promises, facts)


def kill_models(stage: Stage) -> Result:
    """Kill the process of one model in every Triton, one after the other: Triton lives, and calls the model ready.

    What was in flight at it hangs until its replica is given up, and has one more attempt: no second replica may be hit
    meanwhile.
    """
    begun, mended_s = time.monotonic(), list[float]()
    for triton in stage.system.tritons:
        process, killed = triton.child(f"/{PLAIN.name}/"), time.monotonic()
        process.kill()
        stage.await_child(triton, f"/{PLAIN.name}/", other_than=process)
        stage.settle(triton)
        mended_s.append(time.monotonic() - killed)
        stage.say(f"{triton.name}: {PLAIN.name} was loaded again within {mended_s[-1]:.1f} s")
        time.sleep(EJECTED_WITHIN_S)
    summary = stage.since(begun)
    promises = [Promise("0 failed", summary.failed == 0)]
    facts = {"back_s": _spread(mended_s)}
    return Result("SIGKILL of a model's process", summary, time.monotonic() - begun, promises, facts)


def sick(stage: Stage) -> Result:
    """Leave one Triton of all in good health: one hangs, the others are killed and stay away."""
    first, *others = stage.system.tritons
    begun = time.monotonic()
    hanging, *dead = others
    server = hanging.child(SERVER)
    for triton in dead:
        triton.kill()
    server.suspend()
    stage.say(f"{', '.join(one.name for one in dead)} killed, {hanging.name} stopped, {first.name} is left")
    time.sleep(_SICK_S)
    sick_until = time.monotonic()
    summary = stage.since(begun)
    late = stage.clients.journal.between(begun + EJECTED_WITHIN_S, sick_until)
    _heal(stage, server, dead)
    promises = [
        Promise("still serving", late.requests > 0 and late.failed == 0),
        Promise("at most 1 % failed", summary.failed <= 0.01 * summary.requests),
    ]
    facts = {"failed_share": summary.failed / max(1, summary.requests), "failed_after_2_s": late.failed}
    name = f"{len(others)} of {len(stage.system.tritons)} Tritons sick"
    return Result(name, summary, time.monotonic() - begun, promises, facts)


def roll_workers(stage: Stage) -> Result:
    """End every worker of the gateway in order (SIGTERM), one after the other; its parent starts another one."""
    begun = time.monotonic()
    workers = stage.system.gateway.workers()
    ended: set[int] = set()
    for worker in workers:
        ended.add(worker.pid)
        worker.terminate()
        psutil.wait_procs([worker], timeout=_END_TIMEOUT_S)
        stage.await_workers(len(workers), frozenset(ended))
        stage.say(f"worker {worker.pid} was replaced")
    summary = stage.since(begun)
    promises = [Promise("0 failed", summary.failed == 0)]
    facts = {"workers": len(workers)}
    return Result("rolling SIGTERM of the gateway's workers", summary, time.monotonic() - begun, promises, facts)


def _heal(stage: Stage, server: psutil.Process, dead: Sequence[Part]) -> None:
    server.resume()
    for triton in dead:
        triton.start()
    for triton in stage.system.tritons:
        stage.settle(triton)


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": round(statistics.median(values), 2), "max": round(max(values), 2)}
