"""Passes on to the controller what clients tell of the outcomes of their requests."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from services.core.errors import Conflict, InvalidRequest, NotFound, Overloaded, PenstockError, Unavailable, status_of
from services.core.rollouts.feedback import MAX_BATCH, Feedback, Taken
from services.core.route import Route
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

    async def take(self, model: str, told: Sequence[Told]) -> list[tuple[Feedback, Taken]]:
        """Pass outcomes on; return each with what was done with it. All are stored, or none is.

        Raises:
            NotFound: No such model; or nobody knows who answered a request.
            Conflict: The model has no A/B test under way.
            InvalidRequest: An outcome is not one of the test's, or there are too many.
            Overloaded: Too many calls wait for the controller.
            Unavailable: The controller does not answer; telling it again is safe, because each outcome counts once.
        """
        counted = model if self._routes.knows(model) else ""
        try:
            taken = await self._take(model, told)
        except PenstockError:
            self._count(counted, REFUSED, sum(len(each.outcomes) for each in told))
            raise
        for result, number in Counter(how.value for _, how in taken).items():
            self._count(counted, result, number)
        return taken

    async def _take(self, model: str, told: Sequence[Told]) -> list[tuple[Feedback, Taken]]:
        route = self._routes.route(model)
        outcomes = [one for each in told for one in self._outcomes(route, each)]
        if len(outcomes) > MAX_BATCH:
            raise InvalidRequest(f"{len(outcomes)} outcomes in one call; send at most {MAX_BATCH}")
        if self._waiting >= self._most:
            raise Overloaded(f"{self._most} calls of feedback wait for the controller already; try again")
        self._waiting += 1
        try:
            taken = await self._report(model, outcomes)
        finally:
            self._waiting -= 1
        return list(zip(outcomes, map(Taken, taken), strict=True))

    def _outcomes(self, route: Route, told: Told) -> list[Feedback]:
        model = route.model
        if not route.experiment:
            raise Conflict(f"model '{model}' has no A/B test under way that would take outcomes")
        version = self._memory.version_of(model, told.request_id) or told.version
        if version is None:
            raise NotFound(
                f"it is not known which version of '{model}' answered request '{told.request_id}': it had no such id, "
                "or it is long ago, or another gateway answered it; add model_version, which the answer names"
            )
        if not 1 <= version < 2**63:
            raise InvalidRequest(f"model_version {version}; expected one of Triton's version numbers, 1 or higher")
        return [Feedback(told.request_id, version, name, value) for name, value in told.outcomes.items()]

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
