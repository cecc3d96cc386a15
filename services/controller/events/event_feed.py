"""Deals notices out to subscribers. Bounded everywhere: who does not keep up is let go, never waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from services.controller.events.notice import Notice, number_in
from services.core.errors import Unavailable


class Subscription:
    """What one subscriber has not read yet. Used as a context: at its end the place is free again.

    Args:
        feed: Where it is registered.
        subject: The rollout that it follows; empty for all.
        missed: What it gets first.
        waiting: Bound on what it may leave unread.
    """

    def __init__(self, feed: EventFeed, subject: str, missed: Iterable[Notice], waiting: int) -> None:
        self._feed = feed
        self.subject = subject
        self._waiting = waiting
        self._unread = deque(missed)
        self._news = asyncio.Event()
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.remove(self)

    @property
    def caught_up(self) -> bool:
        """Whether nothing is unread."""
        return not self._unread

    def offer(self, notice: Notice) -> bool:
        """Take a notice in, and return whether there was room for it."""
        if self.subject not in ("", notice.subject):
            return True
        if len(self._unread) >= self._waiting:
            return False
        self._unread.append(notice)
        self._news.set()
        return True

    def end(self) -> None:
        """Let the reader stop: nothing more comes, and what is unread is not worth a wait."""
        self.ended = True
        self._unread.clear()
        self._news.set()

    async def next(self, timeout_s: float) -> Notice | None:
        """Return the next notice, or None after so many seconds without one and when the subscription has ended."""
        if not self._unread and not self.ended:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return None
        return self._unread.popleft() if self._unread else None


class EventFeed:
    """The notices of this process.

    Args:
        epoch: Unlike that of any earlier process; letters and digits.
        kept: Notices that are remembered for those who come back.
        max_subscribers: Bound on the subscribers.
        max_waiting: Bound on what each may leave unread.
    """

    def __init__(self, epoch: str, *, kept: int = 256, max_subscribers: int = 64, max_waiting: int = 64) -> None:
        self.epoch = epoch
        self.last = 0
        self.dropped = 0
        self._kept: deque[Notice] = deque(maxlen=kept)
        self._max_subscribers = max_subscribers
        self._max_waiting = max_waiting
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @property
    def subscribers(self) -> int:
        """How many there are."""
        return len(self._subscriptions)

    @property
    def followed(self) -> set[str]:
        """The rollouts that somebody follows by name."""
        return {each.subject for each in self._subscriptions if each.subject}

    def has_ended(self, subject: str) -> bool:
        """Return whether the end of a rollout is among what is remembered."""
        return any(notice.final and notice.subject == subject for notice in self._kept)

    def publish(self, kind: str, subject: str, data: bytes, *, final: bool = False) -> None:
        """Tell every subscriber whom it concerns; one whose bound is reached is let go and may come back."""
        self.last += 1
        notice = Notice(self.last, kind, subject, data, final)
        self._kept.append(notice)
        for subscription in [each for each in self._subscriptions if not each.offer(notice)]:
            self.dropped += 1
            self.remove(subscription)

    def subscribe(self, subject: str = "") -> Subscription:
        """Return a subscription from now on.

        Args:
            subject: The rollout to follow; empty for all.

        Raises:
            Unavailable: There are as many subscribers as there may be, or the process ends.
        """
        return self._subscribed(subject, ())

    def resume(self, subject: str, event_id: str) -> Subscription | None:
        """Return a subscription that begins after an event, or None where what followed on it is no longer known.

        Args:
            subject: As in ``subscribe``.
            event_id: The last event that was seen.

        Raises:
            Unavailable: As in ``subscribe``.
        """
        number = number_in(event_id, self.epoch)
        first = self._kept[0].number if self._kept else self.last + 1
        if number is None or not first - 1 <= number <= self.last:
            return None
        missed = [each for each in self._kept if each.number > number and subject in ("", each.subject)]
        return self._subscribed(subject, missed) if len(missed) <= self._max_waiting else None

    def _subscribed(self, subject: str, missed: Iterable[Notice]) -> Subscription:
        if self._closed:
            raise Unavailable("the controller is ending; try again in a moment")
        if len(self._subscriptions) >= self._max_subscribers:
            raise Unavailable(f"{self._max_subscribers} subscribers follow events already; that is the limit", 10.0)
        subscription = Subscription(self, subject, missed, self._max_waiting)
        self._subscriptions.add(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """End a subscription and free its place."""
        self._subscriptions.discard(subscription)
        subscription.end()

    def close(self) -> None:
        """End all, and take no more."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            self.remove(subscription)
