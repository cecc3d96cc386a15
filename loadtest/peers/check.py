"""Before a peer is measured: it answers, and under concurrency each caller gets the answer to its own row."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from loadtest.bench.model import WIDTH
from loadtest.connection import HttpConnection
from loadtest.peers.forms import Form, Row
from loadtest.peers.peer import Serving
from loadtest.record import Failure
from services.core.errors import PenstockError

START_TIMEOUT_S = 120.0
HTTP_TIMEOUT_S = 10.0
ROWS = 64
CALLERS = 8
_POLL_S = 0.2
_OK = 200


def await_answer(serving: Serving, form: Form) -> None:
    """Wait until the first right answer.

    Raises:
        PenstockError: A process ended, or it takes too long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    row = _rows(1)[0]
    while True:
        try:
            _ask(serving.address, form, [row])
        except PenstockError as error:
            for part in serving.parts:
                if (status := part.died()) is not None:
                    raise PenstockError(f"{part.name} ended with {status}: {part.tail()}") from error
            if time.monotonic() > deadline:
                tails = "; ".join(f"{part.name}: {part.tail()}" for part in serving.parts)
                raise PenstockError(f"no answer after {START_TIMEOUT_S:g} s: {error}. {tails}") from error
            time.sleep(_POLL_S)
        else:
            return


def check(serving: Serving, form: Form) -> None:
    """Send different rows at the same time, so that batches form, and compare every number of every answer.

    Raises:
        PenstockError: One is wrong or missing.
    """
    rows = _rows(ROWS)
    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(_ask, serving.address, form, rows[i::CALLERS]) for i in range(CALLERS)]:
            done.result()


def _rows(count: int) -> list[Row]:
    return list(np.random.default_rng(1).normal(size=(count, WIDTH)).astype(np.float32))


def _ask(address: str, form: Form, rows: Sequence[Row]) -> None:
    with contextlib.closing(HttpConnection(address, HTTP_TIMEOUT_S)) as http:
        for row in rows:
            headers, body = form.encode(row)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            outcome = http.exchange("POST", form.path, lines, body)
            if isinstance(outcome, Failure):
                raise PenstockError(f"{form.path}: {outcome.message}")
            status, answer = outcome
            if status != _OK:
                words = bytes(answer.body[:300]).decode("utf-8", "replace")
                raise PenstockError(f"{form.path}: status {status}, expected {_OK}: {words}")
            _compare(form, row, answer.headers, bytes(answer.body))


def _compare(form: Form, row: Row, headers: dict[str, str], body: bytes) -> None:
    try:
        found = form.decode(headers, body)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise PenstockError(f"{form.path}: the answer cannot be read ({error}): {body[:200]!r}") from error
    if found.shape != row.shape or not np.array_equal(found, 2 * row):
        raise PenstockError(f"{form.path}: a wrong answer: {found.shape} {found[:4]}, expected {2 * row[:4]} ...")
