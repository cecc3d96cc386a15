"""Requests made from the gateway's own OpenAPI: none is a fault of the gateway, every answer is as described there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.differential.lab import gateway_before, looping, zoo
from tests.fuzz.watched import rounds

pytestmark = pytest.mark.integration

_START_S = 120.0
# Mostly of what is there: by the names that are made up no model is called.
_NAMES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["", "echo", "pair", "labelled", "scalar", "parameters", "nobody"]),
        "version": st.sampled_from(["", "1", "1", "2"]),
    }
)
_EXAMPLES = 50
_TIMEOUT_S = 10.0
_HARDLY_MS = 1000
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The OpenAPI of a gateway in front of a Triton with the zoo's models."""
    folder = tmp_path_factory.mktemp("openapi")
    with zoo(folder / "triton") as triton, looping() as loop:
        opened = gateway_before(triton, folder / "gateway")
        gateway = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(_START_S)
        try:
            yield schemathesis.openapi.from_url(f"http://127.0.0.1:{gateway.ports['REST']}/openapi.json")
        finally:
            asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(_START_S)


def _in_no_time(case: Any, response: Any) -> bool:
    """Whether a client that gave hardly any time is told that it was over: its wish, not a fault."""
    given_ms = str((case.headers or {}).get("penstock-timeout-ms", ""))
    return response.status_code == HTTPStatus.GATEWAY_TIMEOUT and given_ms.isdecimal() and int(given_ms) < _HARDLY_MS


def _answers_as_described(operation: Any) -> None:
    sent = 0
    cases = operation.as_strategy()
    if operation.body:
        # Also what the description does not allow.
        cases = cases | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(
        max_examples=rounds(_EXAMPLES),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases, _NAMES)
    def ask(case: Any, names: dict[str, str]) -> None:
        nonlocal sent
        sent += 1
        case.path_parameters = {name: names.get(name) or value for name, value in (case.path_parameters or {}).items()}
        response = case.call(timeout=_TIMEOUT_S)
        checks = [check for check in _CHECKS if check is not not_a_server_error or not _in_no_time(case, response)]
        try:
            case.validate_response(response, checks=checks)
        except FailureGroup as failures:
            sent_words = f"{case.method} {case.formatted_path} {case.body!r:.2000}"
            failures.add_note(f"{sent_words}\n-> {response.status_code} {response.content!r:.2000}")
            raise

    ask()
    print(f"{operation.label}: {sent} requests")


def test_every_answer_is_as_the_openapi_describes_it(openapi: Any) -> None:
    operations = [found.ok() for found in openapi.get_all_operations()]
    assert len(operations) > 10
    broken: dict[str, str] = {}
    for operation in operations:
        try:
            _answers_as_described(operation)
        except FailureGroup as failures:
            words = [*map(str, failures.exceptions), *getattr(failures, "__notes__", ())]
            broken[operation.label] = "; ".join(words)
    assert not broken, "\n\n".join(f"{label}: {words}" for label, words in broken.items())
