"""``python -m loadtest.controller_kills``: what becomes of rollouts whose controllers are killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import click

from loadtest.controller_kills.controllers import Controllers, publish
from loadtest.controller_kills.coverage import Coverage
from loadtest.controller_kills.experiment import Experiment
from loadtest.controller_kills.finding import Finding
from loadtest.controller_kills.model_server import ModelServer
from loadtest.controller_kills.scenarios import VERSIONS
from loadtest.controller_kills.stored_outcomes import StoredOutcomes
from loadtest.controller_kills.worker import Worker
from loadtest.postgres import own_postgres
from loadtest.run import run_command

EXIT_BROKEN = 1
ENOUGH_FOR_ALL = 200  # so many kills must follow every transition of every strategy at least once
MODELS = ["alpha", "beta", "gamma"]
ENGINES = ("sqlite", "postgresql")


@click.command(context_settings={"max_content_width": 120})
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True, help="How many, over all databases.")
@click.option("--database", "engines", multiple=True, type=click.Choice(ENGINES), help="Which; default is both.")
@click.option("--seed", type=int, default=1, show_default=True, help="Where chance begins.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Directory to keep state and logs in.")
def main(*, kills: int, engines: tuple[str, ...], seed: int, keep: Path | None) -> None:
    """Kill controllers after every transition and at any moment: one on SQLite, one of two on PostgreSQL.

    Exit 1 when a promise is broken, or when 200 kills or more followed some transition of a strategy not once.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    chosen = engines or ENGINES
    share = -(-kills // len(chosen))
    findings: dict[str, Finding] = {}
    folder = keep or Path(tempfile.mkdtemp(prefix="penstock-kills-"))
    try:
        for engine in chosen:
            findings[engine] = run(engine, share, folder / engine, seed, lambda text: print(text, file=sys.stderr))
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    never = Coverage.merged(finding.followed for finding in findings.values()).never()
    document = {name: finding.as_json() for name, finding in findings.items()} | {"never_followed": never}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    if never:
        print(f"no kill followed {'; '.join(never)}", file=sys.stderr)
    broken = any(finding.broken for finding in findings.values())
    sys.exit(EXIT_BROKEN if broken or (never and kills >= ENOUGH_FOR_ALL) else 0)


def run(engine: str, kills: int, folder: Path, seed: int, say: Callable[[str], None]) -> Finding:
    """Kill controllers of one kind of database: one on SQLite, one of two on PostgreSQL."""
    (folder / "repository").mkdir(parents=True)
    publish(folder / "repository", MODELS, VERSIONS)
    with ExitStack() as held:
        url = f"sqlite:///{folder.absolute() / 'penstock.db'}"
        if engine == "postgresql":
            url = held.enter_context(own_postgres()).create()
        server = held.enter_context(ModelServer())
        count = 2 if engine == "postgresql" else 1
        controllers = Controllers(count, url, folder / "repository", server.address, folder)
        held.callback(controllers.close)
        controllers.start()
        worker = held.enter_context(Worker([part.grpc for part in controllers.parts], server.loaded))
        stored = held.enter_context(closing(StoredOutcomes(url)))
        say(f"{engine}: {count} controllers, {kills} kills")
        choice = random.Random(seed)  # noqa: S311 - no secret
        return Experiment(controllers, worker, stored, MODELS, kills=kills, choice=choice, say=say).run()


if __name__ == "__main__":
    run_command(main)
