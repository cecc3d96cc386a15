"""``penstock doctor``: what is missing on this machine, with one line of remedy for each."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from services.cli.console import Console
from services.cli.settings import load_settings
from services.triton.finding import Finding


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--repository", type=click.Path(path_type=Path), help="Model repository; default is model_repository.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Database, logs and caches; default is .penstock.")
@click.pass_obj
def doctor(console: Console, file: Path | None, repository: Path | None, state_dir: Path | None) -> int:
    """Look at what serving on this machine needs, and say what is missing and how to mend it.

    Exit codes: 0 nothing that serving needs is missing, 1 something is.
    """
    from services.cli.diagnosis import examine

    settings = load_settings(os.environ, file, {"repository": repository, "state_dir": state_dir})
    needed, optional = examine(settings)
    console.table("needed for penstock up", ("", "what", "found"), [_row(finding) for finding in needed])
    console.table("needed beyond that", ("", "what", "found"), [_row(finding) for finding in optional])
    missing = [finding for finding in needed if not finding.ok]
    for finding in missing + [finding for finding in optional if not finding.ok]:
        console.say(f"{finding.name}: {finding.detail}\n  remedy: {finding.remedy}")
    console.say("penstock up can start" if not missing else f"penstock up lacks {len(missing)} of {len(needed)}")
    console.result({"needed": [asdict(one) for one in needed], "optional": [asdict(one) for one in optional]})
    return 1 if missing else 0


def _row(finding: Finding) -> tuple[str, str, str]:
    return ("ok" if finding.ok else "MISSING", finding.name, finding.detail)
