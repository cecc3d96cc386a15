"""``penstock demo``: the whole path on real input, from training to a rollback, in a few minutes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import click

from services.cli.console import Console
from services.cli.demo_story import Story
from services.cli.earlier_run import let_earlier_run_end
from services.cli.settings import Settings, load_settings
from services.cli.stack import Stack, choose_endpoints, longest_end_s
from services.cli.up import ALL_PORTS_FREE, announce
from services.core.errors import ConfigurationError
from services.process.lock import ProcessLock

RECIPE = Path(__file__).parents[2] / "build" / "recipes" / "digits_cnn" / "recipe.yaml"


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="The demo works in its folder demo, emptied first.")
@click.option("--exit", "leave", is_flag=True, help="Leave after the summary instead of serving until Ctrl-C.")
@click.option("--free-ports", is_flag=True, help="Choose free ports for everything and print them.")
@click.pass_obj
def demo(console: Console, file: Path | None, state_dir: Path | None, leave: bool, free_ports: bool) -> int:
    """Train, build FP32 and INT8, serve, check every answer, canary, roll a damaged version back, and gate on an SLO.

    Exit codes: 0 everything was as promised, 1 something was not, 2 a setting is wrong or a port is taken, 3 something
    is missing on this machine.
    """
    from services.cli.diagnosis import require

    settings = load_settings(os.environ, file, {"state_dir": state_dir, **(ALL_PORTS_FREE if free_ports else {})})
    if not RECIPE.is_file():
        raise ConfigurationError(f"no recipe at {RECIPE}; the demo runs from a checkout of the project")
    require(settings, extras=("build", "loadtest"))
    with ProcessLock(settings.state_dir / "demo.lock", f"a demo with the state directory {settings.state_dir}"):
        return asyncio.run(_run(console, apart(settings), leave=leave))


def apart(settings: Settings) -> Settings:
    """Return the settings of the demo: where and how everything runs as asked for, on state of its own alone.

    Its controller must not join others at a database that was named for these, and its versions are not signed.
    """
    workspace = settings.state_dir / "demo"
    controller = settings.controller.model_copy(update={"database_url": None})
    own = {"state_dir": workspace, "repository": workspace / "model_repository", "public_key": None}
    return settings.model_copy(update={**own, "controller": controller})


async def _run(console: Console, settings: Settings, *, leave: bool) -> int:
    """Tell the story; SIGTERM and Ctrl-C end it in order at any point."""
    story_task = asyncio.current_task()
    stop = asyncio.Event()

    def interrupt() -> None:
        stop.set()
        if story_task is not None and not serving:
            story_task.cancel()

    serving = False
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interrupt)
    with suppress(asyncio.CancelledError):
        await let_earlier_run_end(settings.state_dir, longest_end_s(settings), stop, console.say)
        shutil.rmtree(settings.state_dir, ignore_errors=True)
        stack = Stack(settings, choose_endpoints(settings))
        story = Story(console, settings, stack, RECIPE)
        await story.build_first()
        async with stack.running(stop):
            announce(console, stack.endpoints)
            await story.tell()
            story.summarise()
            serving = not leave
            if serving:
                console.say("\nserving until Ctrl-C")
                await stop.wait()
        return 1 if story.broken else 0
    console.say("interrupted; everything is stopped")
    return 130
