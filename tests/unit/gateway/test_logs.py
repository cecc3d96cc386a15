"""A line is one event in a form that machines read, and an outage does not fill the disk with them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from services.core.inference import Attempt
from services.gateway.logs import FIELDS, JsonFormatter, LogSettings
from services.gateway.request_log import RequestLog
from services.gateway.tracing.context import RequestTrace
from services.gateway.tracing.ended import Ended

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Lines:
    """What the gateway logged, line by line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(JsonFormatter("worker-1"))

    def read(self) -> list[dict[str, object]]:
        """Return the lines since the last call."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    kept = Lines()
    logger = logging.getLogger("services.gateway")
    level, handlers = logger.level, logger.handlers
    logger.setLevel(logging.INFO)
    logger.handlers = [kept.handler]
    yield kept
    logger.setLevel(level)
    logger.handlers = handlers


class Clock:
    """Seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ended(outcome: str = "ok", duration_s: float = 0.01, *, error: str = "", model: str = "digits") -> Ended:
    """Return a request that ended."""
    attempts = [Attempt("10.0.0.1:8000", 1.0, 1.1, "unavailable"), Attempt("10.0.0.2:8000", 1.1, 1.2, outcome)]
    return Ended(
        "rest", model, 2, "candidate", outcome, "mine", [1.0], 1.0 + duration_s, attempts, None, TRACEPARENT, error
    )


def test_a_failure_of_ours_has_a_line_that_says_which_request_where_and_why(lines: Lines) -> None:
    RequestLog(LogSettings(), Clock()).ended(ended("unavailable", 0.25, error="10.0.0.2:8000 does\nnot answer"))
    (line,) = lines.read()
    assert line.pop("ts")
    assert line == {
        "level": "ERROR",
        "logger": "services.gateway.request_log",
        "message": "rest request for 'digits': unavailable after 250.0 ms (10.0.0.2:8000 does not answer)",
        "instance": "worker-1",
        "protocol": "rest",
        "model": "digits",
        "outcome": "unavailable",
        "duration_ms": 250.0,
        "version": 2,
        "role": "candidate",
        "replica": "10.0.0.2:8000",
        "attempts": 2,
        "request_id": "mine",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }


def test_a_sampled_request_is_named_by_its_span(lines: Lines) -> None:
    request = ended("internal")._replace(trace=RequestTrace(0xAB, 0, "", 0xCD, 0xEF))
    RequestLog(LogSettings(), Clock()).ended(request)
    (line,) = lines.read()
    assert (line["trace_id"], line["span_id"]) == (f"{0xAB:032x}", f"{0xCD:016x}")


@pytest.mark.parametrize("outcome", ["ok", "invalid_argument", "overloaded", "cancelled", "expired", "not_found"])
def test_answers_and_clients_mistakes_have_no_line_unless_wished(lines: Lines, outcome: str) -> None:
    RequestLog(LogSettings(), Clock()).ended(ended(outcome, 100.0))
    assert lines.read() == []
    RequestLog(LogSettings(access=True), Clock()).ended(ended(outcome))
    assert [line["outcome"] for line in lines.read()] == [outcome]


def test_slow_answers_have_a_line_from_the_threshold_on(lines: Lines) -> None:
    log = RequestLog(LogSettings(slow_request_s=0.5), Clock())
    assert log.from_s == 0.5
    log.ended(ended("ok", 0.49))
    log.ended(ended("ok", 0.5))
    assert [line["duration_ms"] for line in lines.read()] == [500.0]


def test_a_second_has_a_bounded_number_of_lines_and_the_rest_is_counted(lines: Lines) -> None:
    clock = Clock()
    log = RequestLog(LogSettings(lines_per_s=3), clock)
    for _ in range(1000):
        log.ended(ended("unavailable"))
    assert len(lines.read()) == 3
    clock.now += 1
    for _ in range(1000):
        log.ended(ended("unavailable"))
    assert [line.get("suppressed", 0) for line in lines.read()] == [997, 0, 0]
    log.tick()
    assert lines.read() == []  # its second is not over
    clock.now += 1
    log.tick()
    log.tick()
    assert [line["suppressed"] for line in lines.read()] == [997]


def test_failures_do_not_use_up_the_lines_of_slow_requests(lines: Lines) -> None:
    log = RequestLog(LogSettings(lines_per_s=1, slow_request_s=0.1), Clock())
    for _ in range(5):
        log.ended(ended("unavailable"))
        log.ended(ended("ok", 0.2))
    assert [line["outcome"] for line in lines.read()] == ["unavailable", "ok"]


@pytest.mark.parametrize(
    "hostile",
    ['a"b\\', "two\nlines", "\ud800half", "\x00\x1b[31m", "x" * 100_000, 1 << 80],
    ids=["quotes", "lines", "half a character", "controls", "long", "number"],
)
def test_whatever_a_client_calls_its_request_a_line_stays_one_line(lines: Lines, hostile: object) -> None:
    # Past every logger: half a character is nothing that every test runner can carry.
    record = logging.LogRecord("services.gateway", logging.INFO, __file__, 1, "%s", (hostile,), None)
    setattr(record, FIELDS, {"request_id": hostile, "level": "forged"})
    lines.handler.handle(record)
    written = lines.stream.getvalue()
    assert written.count("\n") == 1
    (line,) = lines.read()
    assert line["level"] == "INFO"
    if isinstance(hostile, str) and hostile.isascii():
        assert line["request_id"] == hostile


def test_a_long_name_or_reason_is_cut(lines: Lines) -> None:
    RequestLog(LogSettings(), Clock()).ended(ended("internal", error="e" * 100_000, model="m" * 1000))
    (line,) = lines.read()
    assert len(str(line["message"])) < 1000


def test_an_exception_is_in_its_line(lines: Lines) -> None:
    try:
        int("broken")
    except ValueError:
        logging.getLogger("services.gateway").exception("incident")
    (line,) = lines.read()
    assert "ValueError: invalid literal" in str(line["exception"])
    assert "Traceback" in str(line["exception"])
