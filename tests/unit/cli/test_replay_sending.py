"""What is read of recorded inputs, and how they are sent: each once, no faster than asked, until told to stop."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from services.cli.console import Console
from services.cli.controller_client import ControllerClient
from services.cli.paced_sending import Sent, send_paced
from services.cli.recorded_requests import Body, recorded
from services.cli.replay import _Watch, replay
from services.core.errors import ConfigurationError, NotFound
from services.core.inference import TensorSpec
from tests.fakes import aio

BATCHED = (TensorSpec("x", "FP32", (-1, 3)),)
WORDS = (TensorSpec("x", "FP32", (2,)), TensorSpec("words", "BYTES", (1,)))


def read(path: Path, inputs: tuple[TensorSpec, ...] = BATCHED) -> list[tuple[dict[str, Any], bytes]]:
    bodies = list(recorded(path, "m", inputs))
    return [(orjson.loads(body.data[: body.json_size]), body.data[body.json_size :]) for body in bodies]


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "rows.npz"
    np.savez(path, **arrays)
    return path


def test_each_row_of_a_file_is_a_request_in_the_models_datatype(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float64).reshape(2, 3)
    first, second = read(saved(tmp_path, anything=rows, labels=np.array([0, 1])))
    assert first[0]["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    ]
    assert np.frombuffer(first[1], "<f4").tolist() == [0, 1, 2]
    assert np.frombuffer(second[1], "<f4").tolist() == [3, 4, 5]


def test_a_model_that_does_not_batch_gets_no_batch_dimension_and_texts_have_their_lengths(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.ones((1, 2), np.float32), words=np.array([["hé"]]))
    [(head, data)] = read(path, WORDS)
    assert [(one["name"], one["shape"]) for one in head["inputs"]] == [("x", [2]), ("words", [1])]
    assert data[8:] == b"\x03\x00\x00\x00" + "hé".encode()


def test_each_line_of_a_file_is_the_body_of_a_request(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"inputs": [], "id": "7"}\n\n{"inputs": [{"name": "x"}]}\n')
    assert [head for head, _ in read(path)] == [{"inputs": [], "id": "7"}, {"inputs": [{"name": "x"}]}]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.zeros(2)}, "has no array"),
        ({"x": np.float32(1)}, "x without a dimension"),
        ({"x": np.zeros((2, 4), np.float32)}, r"'x' is float32 \[2, 4\], but m takes FP32 \[-1, 3\]"),
        ({"x": np.array([["a", "b", "c"]])}, "but m takes FP32"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(2)}, "holds x, y, but m takes x"),
    ],
)
def test_a_file_that_does_not_fit_the_model_is_refused_in_words(
    arrays: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(saved(tmp_path, **arrays))


def test_arrays_of_different_lengths_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the same number of each"):
        read(saved(tmp_path, x=np.zeros((2, 2), np.float32), words=np.array([["a"]])), WORDS)
    for name, content, words in (
        ("a.npz", b"PK", "cannot be read as an npz file"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b'{"inputs": []}\nnonsense\n', ":2: is no JSON"),
        ("a.jsonl", b'{"instances": []}\n', ":1: has no list 'inputs'"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match=words):
            read(tmp_path / name)
    for name in ("none.npz", "none.jsonl"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read(tmp_path / name)


def test_what_can_be_read_once_only_is_refused(tmp_path: Path) -> None:
    for name in ("log.jsonl", "rows.npz"):
        end, other_end = os.pipe()
        os.write(other_end, b'{"inputs": []}\n')
        os.close(other_end)
        (tmp_path / name).symlink_to(f"/dev/fd/{end}")
        try:
            with pytest.raises(ConfigurationError, match="is no regular file"):
                read(tmp_path / name)
        finally:
            os.close(end)


def test_a_file_without_a_request_is_refused_before_any_is_sent(tmp_path: Path) -> None:
    blank = tmp_path / "log.jsonl"
    blank.write_text("\n  \n\n")
    with pytest.raises(ConfigurationError, match="is empty, but for blank lines"):
        read(blank)
    with pytest.raises(ConfigurationError, match="x without a single item"):
        read(saved(tmp_path, x=np.zeros((0, 3), np.float32)))


def test_an_archive_that_is_another_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 3), np.float32))
    with pytest.raises(ConfigurationError, match="is a single array"):
        read(path)

    np.savez_compressed(path, x=np.zeros((2, 3), np.float32))
    data = bytearray(path.read_bytes())
    begin = data.index(b"x.npy") + len(b"x.npy") + int.from_bytes(data[28:30], "little")
    data[begin : begin + 4] = b"\xff" * 4  # where the deflated bytes begin: no such kind of block
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="cannot be read as an npz file"):
        read(path)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(ConfigurationError, match=r"holds readme\.txt, which is no array"):
        read(path)


@pytest.mark.parametrize("option", ["--rate", "--timeout"])
@pytest.mark.parametrize("value", ["nan", "inf", "0"])
def test_a_rate_that_is_none_is_wrong_usage(option: str, value: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(replay, ["m", "--data", str(tmp_path / "log.jsonl"), option, value])
    assert done.exit_code == 2
    assert option in done.output


def test_a_replay_waits_for_a_controller_that_is_away_and_not_for_a_rollout_that_is_gone() -> None:
    active = {"model": "m", "phase": "preparing", "active": True}
    answers = [httpx2.Response(200, json=active), httpx2.Response(503, json={"error": "no leader"})]
    answers += [httpx2.Response(404, json={"error": "no rollout m-1"})]
    transport = httpx2.MockTransport(lambda _: answers.pop(0))
    with ControllerClient("http://controller", transport) as controller:
        watch = _Watch(Console(), controller, "m-1", "m")
        with pytest.raises(NotFound, match="no rollout m-1"):
            aio.run(watch.look())
    assert watch.over.is_set()


class Gateway:
    """Answers after a while; fails the request whose number it is told."""

    def __init__(self, takes_s: float = 0.0, fails: int = -1) -> None:
        self._takes_s, self._fails = takes_s, fails
        self.got: list[bytes] = []
        self.at_once = self.most_at_once = 0
        self.asked = asyncio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        number = len(self.got)
        self.got.append(request.content)
        self.asked.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._takes_s)
        self.at_once -= 1
        if number == self._fails:
            return httpx2.Response(503, text="overloaded")
        if number == self._fails + 1 and self._fails >= 0:
            raise httpx2.ReadTimeout("too long")
        return httpx2.Response(200)


async def sent_to(gateway: Gateway, bodies: list[Body], rate: float, at_once: int, over: asyncio.Event) -> Sent:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(gateway), base_url="http://g") as client:
        return await send_paced(client, "/infer", iter(bodies), rate_per_s=rate, at_once=at_once, over=over)


def bodies(count: int) -> list[Body]:
    return [Body(b"%d" % number, 1 if number < 10 else 2) for number in range(count)]


def test_every_request_is_sent_once_in_order_and_failures_are_told_apart() -> None:
    gateway = Gateway(fails=3)
    sent = aio.run(sent_to(gateway, bodies(20), 1e4, 1, asyncio.Event()))
    assert gateway.got == [b"%d" % number for number in range(20)]
    assert (sent.answered, dict(sent.failed)) == (18, {"503": 1, "no answer": 1})
    assert sent.said["503"] == "overloaded"
    assert "ReadTimeout" in sent.said["no answer"]
    assert sent.latency.total == 18
    assert not sent.ended_early


def test_a_request_that_cannot_be_read_ends_it_with_its_own_words() -> None:
    def broken() -> Iterator[Body]:
        yield Body(b"0", 1)
        raise ConfigurationError("log.jsonl:2: is no JSON")

    async def sent() -> None:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(Gateway()), base_url="http://g") as client:
            await send_paced(client, "/infer", broken(), rate_per_s=1e4, at_once=8, over=asyncio.Event())

    with pytest.raises(ConfigurationError, match="is no JSON"):
        aio.run(sent())


def test_the_rate_is_kept_and_no_more_are_under_way_than_allowed() -> None:
    quick = aio.run(sent_to(Gateway(), bodies(11), 50.0, 8, asyncio.Event()))
    assert quick.seconds >= 0.2
    slow = Gateway(takes_s=0.02)
    aio.run(sent_to(slow, bodies(30), 1e4, 3, asyncio.Event()))
    assert slow.most_at_once == 3


def test_it_ends_at_once_when_told_and_says_so() -> None:
    async def ended() -> tuple[Sent, int]:
        over, gateway = asyncio.Event(), Gateway()
        running = asyncio.create_task(sent_to(gateway, bodies(50), 0.001, 8, over))
        await gateway.asked.wait()
        over.set()
        return await asyncio.wait_for(running, 5.0), len(gateway.got)

    sent, got = aio.run(ended())
    assert (sent.ended_early, sent.answered, got) == (True, 1, 1)
