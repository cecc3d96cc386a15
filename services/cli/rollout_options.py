"""Everything that may be asked of a rollout, as options of a verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from services.cli.controller_client import controller_option
from services.cli.finite_float import FiniteFloat
from services.cli.memory_options import OPTIONS
from services.cli.rollout_experiment import EXPERIMENT_OPTIONS
from services.core.rollouts.rollout_spec import OnInconclusive, Strategy

_TOLERANCES = {
    "--max-error-increase": "Allowed increase of the share of bad answers, absolute.",
    "--max-non-finite-increase": "Allowed increase of the share of NaN answers, where stable gives such answers too.",
    "--max-stable-error": "Share of stable's bad answers above which nothing passes.",
    "--max-p99-ratio": "Allowed p99 as a multiple of stable's.",
    "--p99-floor-s": "Slower by no more than this is never judged, seconds.",
    "--slow-s": "Answers that take longer are slow, seconds; their share is compared.",
    "--max-slow-increase": "Allowed increase of the share of slow answers, absolute.",
    "--max-prediction-shift": "Allowed distance of the mixes of predicted classes.",
    "--max-score-shift": "Allowed KS distance of the distributions of confidences and numeric outputs; 1 allows any.",
    "--max-disagreement": "Allowed share of copied requests that are answered differently, beyond the noise.",
    "--false-rollback-bound": "Highest probability of a false rollback.",
    "--false-promotion-bound": "Highest probability of promoting harm.",
}


def asked_options(command: Any) -> Any:
    """Give a verb the model, the candidate, the steps and all tolerances; ``rollout_start.body_of`` takes them."""
    options = [
        click.argument("model", required=False),
        click.option("--version", type=int, help="The candidate: a published version that is not the stable one."),
        click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="YAML file; flags go over it."),
        click.option(
            "--step",
            "steps",
            multiple=True,
            metavar="WEIGHT[:DURATION[:REQUESTS[:MIRROR]]]",
            help="A step, for example 5:30s:100; repeat for more. MIRROR: percent of the requests that are copied, to "
            "compare both answers. Default: the strategy's, for a canary 5, 25 and 50 %, each 60s and 200 requests.",
        ),
        click.option(
            "--strategy",
            type=click.Choice([strategy.value for strategy in Strategy]),
            help="How it gets its traffic.  [default: canary]",
        ),
        *(click.option(name, type=FiniteFloat(), help=words) for name, words in _TOLERANCES.items()),
        click.option("--max-step-duration", metavar="DURATION", help="A step without a pass by then is inconclusive."),
        click.option(
            "--on-inconclusive",
            type=click.Choice([one.value for one in OnInconclusive]),
            help="What is done then.  [default: abort]",
        ),
        *OPTIONS,
        *EXPERIMENT_OPTIONS,
        controller_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command
