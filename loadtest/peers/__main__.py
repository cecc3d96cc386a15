"""``python -m loadtest.peers`` (``make peers``): Penstock beside other model servers, and a bare proxy."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path

import click

from loadtest.bench.facts import machine_facts
from loadtest.bench.h2load import H2Load, find_h2load
from loadtest.bench.model import SMALL
from loadtest.peers.measure import Contest, Plan
from loadtest.peers.ours import PenstockPeer, TritonPeer
from loadtest.peers.packaged import PACKAGED
from loadtest.peers.peer import Peer
from loadtest.peers.plot import draw
from loadtest.peers.proxied import EnvoyPeer
from loadtest.peers.report import as_json, lines, markdown
from loadtest.run import EXIT_FAILED, run_command

PEERS: dict[str, Peer] = {
    peer.name.split()[0].lower(): peer for peer in (TritonPeer(), EnvoyPeer(), PenstockPeer(), *PACKAGED)
}


@click.command(context_settings={"max_content_width": 120})
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Starts of each server.")
@click.option("--seconds", type=click.FloatRange(0.05), default=3.0, show_default=True, help="Length of one run.")
@click.option("--quick", is_flag=True, help="One round of 0.3 s: shows that it works, measures badly.")
@click.option("--concurrency", multiple=True, type=click.IntRange(1), default=(1, 8, 32), show_default=True)
@click.option("--peer", "names", multiple=True, type=click.Choice(list(PEERS)), default=list(PEERS), show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for peers.md, peers.json and peers.svg.",
)
@click.option("--json", "json_only", is_flag=True, help="Print JSON only.")
def main(
    *,
    rounds: int,
    seconds: float,
    quick: bool,
    concurrency: tuple[int, ...],
    names: tuple[str, ...],
    out: Path | None,
    json_only: bool,
) -> None:
    """Compare model servers on the same ONNX model over REST, one at a time.

    The first run installs each into an environment of its own under .peers/. Exit codes: 0 every server has figures, 1
    one has none (the table says why), 2 a wrong option or interrupted, 3 something is not installed.
    """
    plan = Plan(tuple(sorted(set(concurrency))), rounds, seconds, seconds / 3)
    if quick:
        plan = Plan(plan.concurrency, 1, 0.3, 0.2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    program = find_h2load(_say)
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        onnx = SMALL.publish(folder / "repository")
        contest = Contest(H2Load(program, folder), folder, folder / "repository", onnx, _say)
        results = contest.run([PEERS[one] for one in dict.fromkeys(names)], plan)
    facts = machine_facts(program) | {"rounds": plan.rounds, "seconds": plan.seconds}
    text, document = markdown(results, facts), json.dumps(as_json(results, facts), indent=2) + "\n"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "peers.md").write_text(text, encoding="utf-8")
        (out / "peers.json").write_text(document, encoding="utf-8")
        if results.samples:
            draw(lines(results.samples), plan.concurrency[-1], out / "peers.svg")
    sys.stdout.write(document if json_only else text)
    if results.void:
        sys.exit(EXIT_FAILED)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    run_command(main)
