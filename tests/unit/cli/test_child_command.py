"""Commands run as children: their JSON, their failures, their end."""

import asyncio
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.cli.child_command import Background, CommandFailed, run_json
from services.core.errors import UpstreamFailure

ENDLESS = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("[1]"), sys.exit(0)))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def test_what_a_command_prints_is_read() -> None:
    assert asyncio.run(run_json(["-c", "print('{\"a\": [1]}')"])) == {"a": [1]}
    assert asyncio.run(run_json(["-c", "pass"], empty=True)) is None


@pytest.mark.parametrize(
    ("program", "words", "document"),
    [
        ('import sys; sys.stderr.write(\'{"error": "no such thing"}\'); sys.exit(3)', "no such thing", {}),
        ('print(\'{"reasons": ["a", "b"]}\'); raise SystemExit(3)', "a; b", {"reasons": ["a", "b"]}),
        ("print('plain'); raise SystemExit(3)", "plain", {}),
    ],
)
def test_a_failure_carries_the_commands_own_words(program: str, words: str, document: object) -> None:
    with pytest.raises(CommandFailed) as caught:
        asyncio.run(run_json(["-c", program]))
    assert (caught.value.code, caught.value.words, caught.value.document) == (3, words, document)


def test_a_success_that_is_no_json_is_an_error() -> None:
    with pytest.raises(UpstreamFailure, match="no JSON"):
        asyncio.run(run_json(["-c", "print('hello')"]))


def test_a_background_command_is_asked_to_end_and_gives_its_result(tmp_path: Path) -> None:
    async def life() -> object:
        background = await Background.start(["-c", ENDLESS, str(tmp_path / "ready")])
        await asyncio.to_thread(wait_for, tmp_path / "ready")
        return await background.stop()

    assert asyncio.run(life()) == [1]


def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    async def life() -> list[psutil.Process]:
        task = asyncio.create_task(run_json(["-c", ENDLESS, str(tmp_path / "ready")]))
        await asyncio.to_thread(wait_for, tmp_path / "ready")
        family = [child for child in psutil.Process().children() if str(tmp_path / "ready") in child.cmdline()]
        assert family
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    assert asyncio.run(life()) == []


def test_a_command_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, signal\nfrom services.cli.child_command import Background\n"
        "async def life():\n"
        "    background = await Background.start(['-c', 'import time; time.sleep(60)'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(background._child.pid))\n"
        "    await asyncio.sleep(0.5)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(life())\n"
    )

    async def life() -> int:
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        await parent.wait()
        return int((tmp_path / "pid").read_text())

    orphan = asyncio.run(life())
    try:
        psutil.Process(orphan).wait(10)
    except psutil.NoSuchProcess:
        return
