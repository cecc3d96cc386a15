"""``python -m loadtest.overload``: ten times what Triton can carry, open loop. Exit 0 met, 1 missed, 2 void."""

from __future__ import annotations

import json
import platform
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
import psutil

from loadtest.bench.system import System
from loadtest.overload.experiment import Plan, capacity, run
from loadtest.overload.judgement import Judgement, judge
from loadtest.overload.model import MODEL
from loadtest.overload.plot import draw
from loadtest.overload.report import as_json, markdown
from loadtest.report import EXIT_CODES
from loadtest.run import run_command

_CAPACITY_S = 3.0


@click.command(context_settings={"max_content_width": 120})
@click.option("--seconds", type=click.FloatRange(2.0), default=15.0, show_default=True, help="Length of each phase.")
@click.option("--deadline", type=click.FloatRange(0.1), default=0.5, show_default=True, help="Seconds per request.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Workers of the gateway.")
@click.option(
    "--fixed",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    help="Also a gateway whose limit is fixed at so many in flight per worker; 0 for none.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the arrivals.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for overload.json and overload.svg."
)
@click.option("--json", "json_only", is_flag=True, help="Print JSON only.")
def main(
    *, seconds: float, deadline: float, workers: int, fixed: int, seed: int, out: Path | None, json_only: bool
) -> None:
    """Find what Triton carries, offer the gateway 0.8, 10 and 0.8 times as much, and compare with the promises."""

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    plan = Plan(seconds, deadline, seed)
    with tempfile.TemporaryDirectory(prefix="penstock-overload-") as name:
        folder = Path(name)
        MODEL.publish(folder / "repository")
        say("starting Triton, controller and gateway")
        with System(folder / "repository", folder, workers) as system:
            carried = capacity(system.direct.rest, _CAPACITY_S, say)
            runs = [run("adaptive", system.gateway.rest, carried, plan, say)]
            if fixed:
                settings = {"gateway": {"admission": {"fixed_limit": fixed}}}
                other = system.add_gateway("fixed", workers, settings)
                runs.append(run(f"fixed at {fixed}", other.rest, carried, plan, say))
    judgement = judge(runs[0])
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": psutil.cpu_count() or 0,
        "python": platform.python_version(),
        "workers": workers,
        "deadline_s": deadline,
        "seed": seed,
    }
    document = json.dumps(as_json(runs, judgement, facts), indent=1) + "\n"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "overload.json").write_text(document, encoding="utf-8")
        draw(runs, out / "overload.svg")
    sys.stdout.write(document if json_only else markdown(runs, judgement))
    sys.exit(_code(judgement))


def _code(judgement: Judgement) -> int:
    return EXIT_CODES[judgement.outcome]


if __name__ == "__main__":
    run_command(main)
