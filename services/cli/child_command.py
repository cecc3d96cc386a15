"""Commands run as child processes, as a person would run them, with their JSON read back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any, Self

from services.core.errors import PenstockError, UpstreamFailure
from services.process.child import dying_with_this_process

_STOP_TIMEOUT_S = 30.0
_WORDS_BYTES = 4000


class CommandFailed(PenstockError):
    """A command ended with another exit code than 0.

    Attributes:
        code: The exit code.
        words: What the command said of it.
        document: The JSON that it printed all the same; empty where there is none.
    """

    def __init__(self, command: str, code: int, out: bytes, err: bytes) -> None:
        try:
            self.document: dict[str, Any] = json.loads(out)
        except ValueError:
            self.document = {}
        self.code = code
        self.words = _words(self.document, out, err)
        super().__init__(f"{command} ended with {code}: {self.words}")


async def run_json(arguments: list[str], *, empty: bool = False) -> Any:
    """Run this Python with ``arguments`` and return the JSON that it prints.

    Args:
        arguments: What follows ``python``.
        empty: Whether the command prints nothing when it succeeds.

    Raises:
        CommandFailed: It ended with another exit code than 0.
        UpstreamFailure: It printed something else than JSON.
    """
    child = await _spawn(arguments)
    try:
        out, err = await child.communicate()
    except asyncio.CancelledError:
        await _end(child)
        raise
    if child.returncode != 0:
        raise CommandFailed(" ".join(arguments[1:3]), child.returncode or 0, out, err)
    return None if empty else _parsed(arguments, out)


class Background:
    """A command that runs until it is stopped, and then prints JSON."""

    def __init__(self, arguments: list[str], child: asyncio.subprocess.Process) -> None:
        self._arguments = arguments
        self._child = child

    @classmethod
    async def start(cls, arguments: list[str]) -> Self:
        """Start this Python with ``arguments``."""
        return cls(arguments, await _spawn(arguments))

    async def stop(self) -> Any:
        """Send SIGTERM and return the JSON that the command prints at its end.

        Raises:
            CommandFailed: It had died, or did not end well.
        """
        if self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                out, err = await self._child.communicate()
        except (TimeoutError, asyncio.CancelledError):
            await _end(self._child)
            raise
        if self._child.returncode != 0:
            raise CommandFailed(" ".join(self._arguments[1:3]), self._child.returncode or 0, out, err)
        return _parsed(self._arguments, out)


async def _spawn(arguments: list[str]) -> asyncio.subprocess.Process:
    # Settings reach a child through its arguments alone.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return await asyncio.create_subprocess_exec(
        *dying_with_this_process([sys.executable, *arguments]),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    await child.wait()


def _parsed(arguments: list[str], out: bytes) -> Any:
    try:
        return json.loads(out)
    except ValueError as error:
        raise UpstreamFailure(f"{' '.join(arguments)} printed no JSON: {out[:200]!r}") from error


def _words(document: dict[str, Any], out: bytes, err: bytes) -> str:
    """Return what a command said of its failure: the error that it wrote, the reasons in its result, or its output."""
    for line in reversed(err.decode(errors="replace").splitlines()):
        try:
            return str(json.loads(line)["error"])
        except (ValueError, KeyError, TypeError):
            continue
    if reasons := document.get("reasons"):
        return "; ".join(map(str, reasons))
    return (err.strip() or out.strip()).decode(errors="replace")[-_WORDS_BYTES:]
