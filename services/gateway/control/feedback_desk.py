"""Passes on to the controller what clients tell of the outcomes of their requests."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from services.core.errors import Conflict, InvalidRequest, NotFound, Overloaded, PenstockError, Unavailable, status_of
from services.core.rollouts.feedback import MAX_BATCH, Feedback, Taken
from services.gateway.answer_memory import AnswerMemory
from services.gateway.control.controllers import Controllers
from services.gateway.routes import Routes
from services.pb.penstock.v1 import feedback_pb2, feedback_pb2_grpc

_REFUSALS: dict[int, type[PenstockError]] = {
    status_of(error).grpc: type(error) for error in (InvalidRequest(""), NotFound(""), Conflict(""), Overloaded(""))
}
# What was done with the outcomes of a call that was not taken.
REFUSED = "refused"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What a client tells of one request.

    Attributes:
        request_id: Its id.
        version: The version that answered it, as the client says; None where it does not.
        outcomes: Values by name.
    """

    request_id: str
    version: int | None
    outcomes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """What was done with one outcome.

    Attributes:
        request_id: The id of its request.
        outcome: Its name.
        taken: What was done.
        reason: Why nothing was, where this gateway knows that another version answered than the client says.
    """

    request_id: str
    outcome: str
    taken: Taken
    reason: str = ""


class FeedbackDesk:
    """Answers when the controller has stored the outcomes; until then nothing is promised, and nothing waits here.

    Args:
        memory: Which version answered.
        routes: Which models there are.
        controllers: The controllers; outcomes go to the one that is followed.
        timeout_s: Longest wait for the controller.
        most: Calls that wait for it at once; one more is refused.
        count: Told of a model, of what was done with outcomes, and of how many; the model is empty where it is not
            served.
    """

    def __init__(
        self,
        memory: AnswerMemory,
        routes: Routes,
        controllers: Controllers,
        *,
        timeout_s: float = 5.0,
        most: int = 32,
        count: Callable[[str, str, int], None] = lambda _model, _result, _outcomes: None,
    ) -> None:
        self._memory, self._routes, self._controllers = memory, routes, controllers
        self._timeout_s, self._most = timeout_s, most
        self._waiting = 0
        self._count = count

    async def take(self, model: str, told: Sequence[Told]) -> list[Done]:
        """Pass outcomes on; return what was done with each. All are stored, or none is.

        Those of a request that another version answered than the client says are conflicting, and not passed on.

        Raises:
            NotFound: No such model; or nobody knows who answered a request.
            Conflict: The model has no A/B test under way.
            InvalidRequest: An outcome is not one of the test's, or there are too many.
            Overloaded: Too many calls wait for the controller.
            Unavailable: The controller does not answer; telling it again is safe, because each outcome counts once.
        """
        counted = model if self._routes.knows(model) else ""
        try:
            done = await self._take(model, told)
        except PenstockError:
            self._count(counted, REFUSED, sum(len(each.outcomes) for each in told))
            raise
        for result, number in Counter(one.taken.value for one in done).items():
            self._count(counted, result, number)
        return done

    async def _take(self, model: str, told: Sequence[Told]) -> list[Done]:
        self._routes.route(model)
        test = self._routes.test_of(model)
        if test is None:
            raise Conflict(f"model '{model}' has no A/B test under way that would take outcomes")
        answered = [(each, self._version(model, test, each)) for each in told]
        number = sum(len(each.outcomes) for each in told)
        if number > MAX_BATCH:
            raise InvalidRequest(f"{number} outcomes in one call; send at most {MAX_BATCH}")
        outcomes = [
            Feedback(each.request_id, version, name, value)
            for each, version in answered
            if not _conflict(each, version)
            for name, value in each.outcomes.items()
        ]
        taken = iter(await self._passed_on(model, outcomes) if outcomes else ())
        done: list[Done] = []
        for each, version in answered:
            reason = _conflict(each, version)
            done += [
                Done(each.request_id, name, Taken.CONFLICTING if reason else next(taken), reason)
                for name in each.outcomes
            ]
        return done

    def _version(self, model: str, test: int, told: Told) -> int:
        """Return the version that answered a request, as this gateway remembers it, or else as the client says."""
        if told.version is not None and not 1 <= told.version < 2**63:
            raise InvalidRequest(f"model_version {told.version}; expected one of Triton's version numbers, 1 or higher")
        version = self._memory.version_of(model, test, told.request_id) or told.version
        if version is None:
            raise NotFound(
                f"it is not known which version of '{model}' answered request '{told.request_id}': it had no such id, "
                "or it is long ago, or another gateway answered it, or it was of an earlier test; add model_version, "
                "which the answer names"
            )
        return version

    async def _passed_on(self, model: str, outcomes: Sequence[Feedback]) -> list[Taken]:
        if self._waiting >= self._most:
            raise Overloaded(f"{self._most} calls of feedback wait for the controller already; try again")
        self._waiting += 1
        try:
            taken = await self._report(model, outcomes)
        finally:
            self._waiting -= 1
        return [Taken(how) for _, how in zip(outcomes, taken, strict=True)]

    async def _report(self, model: str, outcomes: Sequence[Feedback]) -> Sequence[str]:
        report = feedback_pb2.OutcomeReport(model=model)
        for one in outcomes:
            report.outcomes.add(request_id=one.request_id, version=one.version, outcome=one.outcome, value=one.value)
        stub = feedback_pb2_grpc.FeedbackServiceStub(self._controllers.chosen.channel)
        try:
            receipt = await stub.ReportOutcomes(report, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            words = error.details() or error.code().name
            refusal = _REFUSALS.get(error.code().value[0])
            if refusal is not None:
                raise refusal(words) from error
            _log.warning("feedback does not reach the controller: %s %s", error.code().name, words)
            raise Unavailable(
                f"the controller did not take the outcomes ({words}); send them again, each counts once"
            ) from error
        taken: Sequence[str] = receipt.taken
        return taken


def _conflict(told: Told, version: int) -> str:
    """Return why a client cannot be right about who answered its request; empty where it may be."""
    if told.version in {None, version}:
        return ""
    return (
        f"version {version} answered request '{told.request_id}' here last, and model_version says {told.version}; "
        "nothing was stored: send the version that the answer named, and give every request of a test its own id"
    )
