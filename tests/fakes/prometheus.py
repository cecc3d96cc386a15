"""A ``MetricSource`` that says what it is told to."""

from __future__ import annotations

from services.core.errors import PenstockError


class FakePrometheus:
    """Gives one answer to every query.

    Attributes:
        answer: The value, or what is raised.
        queries: Every query, in order.
    """

    def __init__(self) -> None:
        self.answer: float | PenstockError = 1.0
        self.queries: list[str] = []

    async def value(self, query: str) -> float:
        self.queries.append(query)
        if isinstance(self.answer, PenstockError):
            raise self.answer
        return self.answer
