"""``python -m loadtest.bench`` (``make bench``): requests/s, added latency, CPU and memory of the gateway."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from loadtest.bench import targets
from loadtest.bench.facts import machine_facts
from loadtest.bench.h2load import H2Load, find_h2load
from loadtest.bench.measure import GATEWAY, PROTOCOLS, Case, Measurement
from loadtest.bench.memory import FLAT, sentences, watch
from loadtest.bench.model import LARGE, publish
from loadtest.bench.part import Part
from loadtest.bench.ports import free_ports
from loadtest.bench.report import Comparison, as_json, compare, markdown, targets_table
from loadtest.bench.system import System
from loadtest.bench.variables import of_gateways
from loadtest.bench.variants import Variant, parse, scaling, tracing
from loadtest.run import EXIT_FAILED, run_command

MILLION = 1_000_000
LARGE_CONCURRENCY = (1, 8)
WORKERS_SCALING = (1, 2)


@click.command(context_settings={"max_content_width": 120})
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each side of each case.")
@click.option("--seconds", type=click.FloatRange(0.05), default=3.0, show_default=True, help="Length of one run.")
@click.option("--quick", is_flag=True, help="One round of 0.3 s: shows that it works, measures badly.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Workers of the gateway.")
@click.option("--concurrency", multiple=True, type=click.IntRange(1), default=(1, 8, 32), show_default=True)
@click.option("--protocol", multiple=True, type=click.Choice(PROTOCOLS), default=PROTOCOLS, show_default=True)
@click.option("--large/--no-large", default=True, show_default=True, help="Also a 3x224x224 FP32 input (602 KB).")
@click.option(
    "--workers-scaling", is_flag=True, help="Also a gateway of 1 worker (with --workers 1: of 2), in the same run."
)
@click.option("--tracing", "traced", is_flag=True, help="Also gateways that trace 0 % and 1 %, in the same run.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="NAME: SETTING=VALUE, ...",
    help="Also a gateway with other settings, in the same run. Repeatable.",
)
@click.option(
    "--memory",
    is_flag=False,
    flag_value=MILLION,
    type=click.IntRange(1),
    metavar="[REQUESTS]",
    help=f"Instead, send so many requests ({MILLION:,}) and watch the workers' memory.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 where a target is missed or not measured.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="Write JSON.")
def main(
    *,
    rounds: int,
    seconds: float,
    quick: bool,
    workers: int,
    concurrency: tuple[int, ...],
    protocol: tuple[str, ...],
    large: bool,
    workers_scaling: bool,
    traced: bool,
    variants: tuple[str, ...],
    memory: int | None,
    strict: bool,
    file: Path | None,
) -> None:
    """Compare the gateway with Triton direct on models that do next to nothing.

    Variables PENSTOCK_GATEWAY_... reach every gateway. Exit codes: 0 measured, 1 a request failed (with --strict: or a
    target was not met), 2 a wrong option or interrupted, 3 something is not installed.
    """
    if quick:
        rounds, seconds = 1, 0.3
    beside = parse(variants) + (scaling(set(WORKERS_SCALING) - {workers}) if workers_scaling else [])
    cases = [Case(one, number) for one in protocol for number in concurrency]
    if large:
        cases += [Case(one, number, LARGE.name) for one in protocol for number in LARGE_CONCURRENCY]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        bench = Bench(Path(name), workers)
        if memory is not None:
            met = bench.memory(protocol, memory, file)
        else:
            met = bench.speed(cases, rounds, seconds, beside, traced=traced, file=file)
    if strict and not met:
        sys.exit(EXIT_FAILED)


class Bench:
    """One run of the benchmark.

    Args:
        folder: Where everything is written.
        workers: Worker processes of the gateway.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        program = find_h2load(_say)
        self._h2load = H2Load(program, folder)
        self._variables = of_gateways(os.environ)
        self._facts = machine_facts(program, self._variables) | {"workers": workers}
        publish(folder / "repository")

    def speed(
        self,
        cases: Sequence[Case],
        rounds: int,
        seconds: float,
        variants: Sequence[Variant],
        *,
        traced: bool,
        file: Path | None,
    ) -> bool:
        """Compare, print, and return whether every target was met."""
        with self._system() as system:
            self._facts["triton"] = system.triton_version()
            gateways = {GATEWAY: system.gateway}
            for one in [*variants, *(tracing(self._start_sink(system)) if traced else [])]:
                gateways[one.name] = system.add_gateway(one.name, one.workers or self._workers, one.settings)
            measurement = Measurement(system, self._h2load, self._folder, gateways)
            measurement.verify()
            samples = measurement.run(cases, rounds, seconds, _say)
        comparisons = compare(samples)
        findings = targets.judge(_judged(comparisons))
        facts = self._facts | {"rounds": rounds, "seconds": seconds}
        _tell(
            f"{markdown(comparisons, facts)}\n{targets_table(findings)}",
            as_json(comparisons, samples, findings, facts),
            file,
        )
        return all(one.verdict == targets.MET for one in findings)

    def memory(self, protocols: Sequence[str], requests: int, file: Path | None) -> bool:
        """Watch the workers' memory, print, and return whether it is flat."""
        with self._system() as system:
            measurement = Measurement(system, self._h2load, self._folder)
            measurement.verify()
            result = watch(measurement, system.gateway, protocols, requests, _say)
        _tell(sentences(result), {"facts": self._facts, "memory": result}, file)
        return bool(result["verdict"] == FLAT)

    def _start_sink(self, system: System) -> str:
        """Start what takes the spans, and return its URL."""
        address = f"127.0.0.1:{free_ports(1)[0]}"
        command = [sys.executable, "-m", "loadtest.bench.sink", address]
        system.add(Part("sink", command, self._folder / "sink.log", rest=address))
        return f"http://{address}/v1/traces"

    def _system(self) -> System:
        _say("starting Triton, controller and gateway")
        return System(self._folder / "repository", self._folder, self._workers, variables=self._variables)


def _judged(comparisons: Sequence[Comparison]) -> dict[tuple[Case, str], float]:
    """Return the plain gateway's medians by case and name."""
    return {
        (one.case, metric): getattr(one, metric).median
        for one in comparisons
        if one.side == GATEWAY
        for metric in ("gateway_cpu_us", "ratio", "added_p50_us")
    }


def _tell(text: str, document: dict[str, Any], file: Path | None) -> None:
    """Print for people, or JSON where the file is ``-``; write JSON to any other file."""
    written = json.dumps(document, indent=2) + "\n"
    if file is not None and str(file) == "-":
        sys.stdout.write(written)
        return
    sys.stdout.write(text)
    if file is not None:
        file.write_text(written, encoding="utf-8")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    run_command(main)
