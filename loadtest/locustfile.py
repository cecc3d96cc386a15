"""For plain Locust, with its web page: ``locust -f loadtest/locustfile.py --slo loadtest/slo.yaml --users 16``.

Users are connections; the rate, the target and the data come from the SLO file and the options here. Arrivals are open
loop and latency counts from the intended send time, as in ``penstock loadtest``; Locust's own page rounds it to two
digits, so the verdict is that command's business. One Locust process only: its workers would each offer the whole rate.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.dataset import find_dataset, load_dataset
from loadtest.lanes import Run
from loadtest.payload import fitted
from loadtest.preflight import inspect
from loadtest.slo_file import load_slo
from loadtest.users import GrpcUser, RestUser
from services.core.errors import ConfigurationError, PenstockError

__all__ = ["GrpcUser", "RestUser"]

_HERE = Path(__file__).parent


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator] # locust is untyped
def add_options(parser: Any, **_: Any) -> None:
    """Add the options to Locust's command line and web page."""
    group = parser.add_argument_group("Penstock")
    group.add_argument("--slo", default=str(_HERE / "slo.yaml"), help="SLO file: target, load and data.")
    group.add_argument("--rate", type=float, default=0.0, help="Requests per second; 0 takes the SLO file's.")
    group.add_argument("--data", default="", help="npz file with an array for each input and `labels`.")
    group.add_argument("--repository", default="model_repository", help="Where published versions lie.")


@events.init.add_listener  # type: ignore[untyped-decorator] # locust is untyped
def prepare(environment: Environment, **_: Any) -> None:
    """Ask the target how its model is called and read the data; then every test start begins a new run."""
    options = environment.parsed_options
    try:
        if environment.runner is not None and not isinstance(environment.runner, LocalRunner):
            raise ConfigurationError("this locustfile offers its whole rate from one process: run it without workers")
        spec = load_slo(Path(options.slo))
        interface = inspect(spec.target)
        path = Path(options.data) if options.data else spec.data
        path = path or find_dataset(Path(options.repository), spec.target.model, spec.target.version)
        dataset = fitted(load_dataset(path), interface)
    except PenstockError as error:
        sys.exit(f"locustfile: {error}")

    def new_run(environment: Environment, **_: Any) -> None:
        rate = environment.parsed_options.rate  # the web page may have changed it
        load = spec.load.model_copy(update={"rate_per_s": rate} if rate > 0 else {})
        environment.run = Run(spec.target, load, interface, dataset, endless=True)

    def start(user_count: int, **_: Any) -> None:
        del user_count
        if not environment.run.started.is_set():
            environment.run.start()

    environment.events.test_start.add_listener(new_run)
    environment.events.spawning_complete.add_listener(start)
