"""One server at a time, answers proven first, and a side that fails once has no figures."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from loadtest.bench.h2load import Shot
from loadtest.bench.model import WIDTH
from loadtest.bench.part import Part
from loadtest.peers.check import await_answer, check
from loadtest.peers.environments import Environment
from loadtest.peers.forms import V2_BINARY, V2_JSON, Form, rows
from loadtest.peers.measure import Contest, Plan
from loadtest.peers.packaged import PACKAGED
from loadtest.peers.peer import Serving, Site
from loadtest.peers.proxied import EnvoyPeer
from services.core.errors import PenstockError

FORM = rows("/predict", nested=False, answer="y")
Answer = Callable[[list[float]], tuple[int, object]]


def double(x: list[float]) -> tuple[int, object]:
    return 200, {"y": [2 * value for value in x]}


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server that answers POSTs of FORM."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            x = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["x"]
            status, document = answer(x)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


class FakePeer:
    """A peer in this process."""

    forms = (FORM,)

    def __init__(self, name: str, answer: Answer = double, diary: list[str] | None = None) -> None:
        self.name = name
        self._answer = answer
        self._diary = diary if diary is not None else []

    def prepare(self, say: Callable[[str], None]) -> str:
        say(f"preparing {self.name}")
        return "1.0"

    @contextlib.contextmanager
    def serve(self, site: Site) -> Iterator[Serving]:
        self._diary.append(f"{self.name} starts")
        part = Part(self.name, [], site.folder / "log", rest="")
        with server(self._answer) as address:
            yield Serving(address, (part,))
        self._diary.append(f"{self.name} ends")


class Generator:
    """In place of h2load: counts, and fails for one address on request."""

    def __init__(self) -> None:
        self.sent = 0
        self.fail = False

    def shoot(self, _url: str, _body: Path, _headers: object, requests: int, _connections: int, *, http1: bool) -> Shot:
        assert http1
        if self.fail:
            raise PenstockError("3 requests failed")
        self.sent += requests
        return Shot(requests, 1000.0, np.arange(1, requests + 1, dtype=np.int64), 0.01)


def contest(tmp_path: Path, generator: Generator) -> Contest:
    return Contest(generator, tmp_path, tmp_path, tmp_path, lambda _text: None)  # type: ignore[arg-type]


PLAN = Plan((1, 8), rounds=2, seconds=0.5, warm_up_s=0.1)


def test_peers_take_turns_alone_and_each_round_begins_with_another(tmp_path: Path) -> None:
    diary: list[str] = []
    results = contest(tmp_path, Generator()).run([FakePeer("a", diary=diary), FakePeer("b", diary=diary)], PLAN)
    one, two = ["a starts", "a ends"], ["b starts", "b ends"]
    assert diary == [*one, *two, *two, *one]
    assert [(sample.peer, sample.concurrency) for sample in results.samples] == [
        (peer, concurrency) for peer in ("a", "b") for _ in range(2) for concurrency in (1, 8)
    ]
    assert {sample.requests for sample in results.samples} == {500}
    assert results.void == {}


def test_a_wrong_answer_voids_the_side_and_the_others_go_on(tmp_path: Path) -> None:
    wrong = FakePeer("wrong", lambda x: (200, {"y": [2 * x[0] + 1e-3, *(2 * value for value in x[1:])]}))
    with pytest.raises(PenstockError, match="a wrong answer"), server(wrong._answer) as address:
        check(Serving(address, ()), FORM)
    calls = [0]

    def turns_wrong(x: list[float]) -> tuple[int, object]:
        calls[0] += 1
        return double(x) if calls[0] < 100 else (503, {"error": "full"})

    peers = [FakePeer("a"), FakePeer("b", turns_wrong)]
    results = contest(tmp_path, Generator()).run(peers, PLAN)
    assert {sample.peer for sample in results.samples} == {"a"}
    assert "503" in results.void["b"]


def test_a_failed_request_takes_the_figures_of_earlier_rounds_too(tmp_path: Path) -> None:
    generator = Generator()

    class FailsLater(FakePeer):
        @contextlib.contextmanager
        def serve(self, site: Site) -> Iterator[Serving]:
            generator.fail = site.folder.name.startswith("1")
            with super().serve(site) as serving:
                yield serving
            generator.fail = False

    results = contest(tmp_path, generator).run([FailsLater("late")], PLAN)
    assert results.samples == []
    assert results.void == {"late": "3 requests failed"}


def test_answers_that_belong_to_another_caller_are_found() -> None:
    last = [[0.0] * WIDTH]

    def mixed_up(x: list[float]) -> tuple[int, object]:
        last[0], previous = x, last[0]
        return double(previous)

    with server(mixed_up) as address, pytest.raises(PenstockError, match="a wrong answer"):
        check(Serving(address, ()), FORM)


def test_a_server_that_ended_is_reported_with_its_last_words(tmp_path: Path) -> None:
    part = Part("peer", ["/bin/sh", "-c", "echo no model; exit 4"], tmp_path / "log", rest="")
    part.start()
    with pytest.raises(PenstockError, match="peer ended with 4: no model"):
        await_answer(Serving("127.0.0.1:9", (part,)), FORM)
    part.stop()


@pytest.mark.parametrize("form", [V2_JSON, V2_BINARY, FORM, rows("/", nested=True, answer=None)])
def test_every_form_carries_every_bit_of_a_row(form: Form) -> None:
    row = np.random.default_rng(3).normal(size=WIDTH).astype(np.float32)
    headers, body = form.encode(row)
    if form is V2_BINARY:
        size = int(headers["inference-header-content-length"])
        assert np.array_equal(np.frombuffer(body[size:], "<f4"), row)
        answer = json.dumps({"outputs": [{"name": "y", "parameters": {"binary_data_size": row.nbytes}}]}).encode()
        found = form.decode({"inference-header-content-length": str(len(answer))}, answer + row.tobytes())
    else:
        sent = json.loads(body)
        values = sent["inputs"][0]["data"] if form is V2_JSON else sent["x"]
        assert np.array_equal(np.asarray(values, np.float32).ravel(), row)
        if form is V2_JSON:
            answers: object = {"outputs": [{"data": values}]}
        else:
            answers = {"y": values} if form is FORM else values
        found = form.decode({}, json.dumps(answers).encode())
    assert np.array_equal(found, row)


def test_every_package_of_every_environment_is_pinned_exactly() -> None:
    environments = [*(peer.environment for peer in PACKAGED), EnvoyPeer.environment]
    for environment in environments:
        for line in environment.requirements.read_text().splitlines():
            assert line.startswith("#") or line.count("==") == 1, f"{environment.requirements}: {line}"
    assert {peer.environment.version(peer.package) for peer in PACKAGED} >= {"1.7.1", "2.60.0"}


INTERPRETER = """#!/bin/sh
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit; fi
for last; do :; done
if grep -q impossible "$last"; then echo "ERROR: no version of it fits" >&2; exit 1; fi
"""


def environment_of(tmp_path: Path, pins: str) -> Environment:
    """An environment made by an interpreter that installs nothing."""
    python = tmp_path / "python"
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    (tmp_path / "requirements.txt").write_text(pins)
    return Environment("x", tmp_path / "requirements.txt", tmp_path / "cache", str(python))


def test_a_package_that_cannot_be_installed_says_why_and_is_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(PenstockError, match="x: cannot be installed: ERROR: no version of it fits"):
            environment_of(tmp_path, "impossible==1\n").prepare(said.append)
    assert said == [f"installing x into {tmp_path}/cache/x"] * 2


def test_an_environment_is_made_once_for_its_pins(tmp_path: Path) -> None:
    said: list[str] = []
    for pins in ("one==1\n", "one==1\n", "one==2\n"):
        environment_of(tmp_path, pins).prepare(said.append)
    assert len(said) == 2
    assert (environment_of(tmp_path, "one==2\n").bin / "python").exists()
    with pytest.raises(PenstockError, match="does not pin two"):
        environment_of(tmp_path, "one==2\n").version("two")
