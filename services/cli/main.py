"""The ``penstock`` command: which verb is in which file, and how an error reaches a person."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from services.cli.console import Console
from services.core.errors import ConfigurationError, MissingDependency, PenstockError

VERBS = {
    "build": ("services.cli.build:build", "checkpoint -> verified, published model version"),
    "config": ("services.cli.config:config", "JSON Schema of every YAML file; the settings in force"),
    "controller": ("services.cli.controller:controller", "run the controller"),
    "demo": ("services.cli.demo:demo", "the whole path on real input"),
    "doctor": ("services.cli.doctor:doctor", "what is missing on this machine, and the remedy"),
    "gateway": ("services.cli.gateway:gateway", "run the gateway"),
    "loadtest": ("services.cli.loadtest:loadtest", "open-loop load against an SLO file"),
    "models": ("services.cli.models:models", "list, show and verify published models"),
    "replay": ("services.cli.replay:replay", "recorded inputs through the gateway, for a rollout to judge by"),
    "rollout": ("services.cli.rollout:rollout", "start, watch and steer rollouts"),
    "triton": ("services.cli.triton:triton", "run a supervised Triton"),
    "up": ("services.cli.up:up", "Triton, controller and gateway on this machine"),
}

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_MISSING = 3
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a verb's file only when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs."""
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one verb and give it, and everything below it, the option ``--json``."""
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _add_json(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, so that help imports nothing heavy."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][1]) for verb in sorted(VERBS)])


def _add_json(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _add_json(child)
    elif not any(parameter.name == "json_only" for parameter in command.params):
        option = click.Option(
            ["--json", "json_only"], is_flag=True, expose_value=False, callback=_set_json, help="Print JSON only."
        )
        command.params.append(option)


def _set_json(ctx: click.Context, _option: click.Parameter, value: Any) -> None:
    if value:
        ctx.ensure_object(Console).json_only = True


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="penstock")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """The gate in front of NVIDIA Triton: gateway, build stage, rollouts, load tests."""
    if ctx.obj is None:
        ctx.obj = Console()


def main(argv: list[str] | None = None) -> None:
    """Run the command; every error becomes one clean message and an exit code.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage or configuration, 3 something is missing on this machine,
    130 interrupted. A verb may give 1 and 2 a meaning of its own and then says so in its help.
    """
    arguments = sys.argv[1:] if argv is None else argv
    console = Console(json_only="--json" in arguments)
    try:
        code = cli.main(args=arguments, prog_name="penstock", standalone_mode=False, obj=console)
    except click.ClickException as error:
        console.error(error.format_message())
        sys.exit(EXIT_CONFIGURATION)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except MissingDependency as error:
        console.error(error.message, remedy=error.remedy)
        sys.exit(EXIT_MISSING)
    except ConfigurationError as error:
        console.error(error.message)
        sys.exit(EXIT_CONFIGURATION)
    except PenstockError as error:
        console.error(error.message)
        sys.exit(EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
