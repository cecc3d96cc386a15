import asyncio

import pytest

from services.controller.events.event_feed import EventFeed
from services.controller.events.event_stream import EventStream
from services.controller.events.notice import Notice
from services.core.errors import Unavailable

pytestmark = pytest.mark.anyio


def publish(feed: EventFeed, count: int, subject: str = "m-1") -> None:
    for _ in range(count):
        feed.publish("rollout", subject, b"{}")


async def numbers(feed: EventFeed, subject: str, last_seen: int) -> list[int] | None:
    resumed = feed.resume(subject, f"{feed.epoch}-{last_seen}")
    if resumed is None:
        return None
    with resumed:
        found = []
        while (notice := await resumed.next(0.001)) is not None:
            found.append(notice.number)
    return found


async def test_a_subscriber_gets_what_concerns_it_in_order_and_no_more() -> None:
    feed = EventFeed("e")
    with feed.subscribe("m-1") as mine, feed.subscribe() as all_of_them:
        publish(feed, 2, "m-1")
        publish(feed, 1, "m-2")
        assert [(await mine.next(1.0)).number for _ in range(2)] == [1, 2]  # type: ignore[union-attr]
        assert await mine.next(0.001) is None
        assert [(await all_of_them.next(1.0)).number for _ in range(3)] == [1, 2, 3]  # type: ignore[union-attr]
    assert feed.subscribers == 0


async def test_who_comes_back_gets_what_it_missed_and_nothing_twice() -> None:
    feed = EventFeed("e")
    publish(feed, 3, "m-1")
    publish(feed, 2, "m-2")
    assert await numbers(feed, "m-1", 1) == [2, 3]
    assert await numbers(feed, "", 3) == [4, 5]
    assert await numbers(feed, "", 5) == []


async def test_what_is_no_longer_known_cannot_be_resumed() -> None:
    feed = EventFeed("e", kept=4)
    publish(feed, 10)
    assert await numbers(feed, "", 6) == [7, 8, 9, 10]
    assert await numbers(feed, "", 5) is None, "event 6 is gone, so something would be missed"
    assert await numbers(feed, "", 11) is None, "that was never told"
    for foreign in ("other-3", "e-", "e-x", "3", "", "e-" + "9" * 400, "e-\N{SUPERSCRIPT TWO}"):
        assert feed.resume("", foreign) is None
    assert feed.subscribers == 0


async def test_a_subscriber_that_does_not_read_is_let_go_and_the_others_are_not() -> None:
    feed = EventFeed("e", max_waiting=3)
    slow, quick = feed.subscribe(), feed.subscribe()
    for _ in range(5):
        publish(feed, 1)
        assert await quick.next(1.0) is not None
    assert slow.ended
    assert not quick.ended
    assert (feed.dropped, feed.subscribers) == (1, 1)
    assert await slow.next(1.0) is None, "what it left unread is given up"


async def test_there_are_only_so_many_subscribers() -> None:
    feed = EventFeed("e", max_subscribers=2)
    first, _second = feed.subscribe(), feed.subscribe()
    with pytest.raises(Unavailable, match="2 subscribers"):
        feed.subscribe()
    feed.remove(first)
    feed.subscribe()
    assert feed.subscribers == 2


async def test_the_end_of_the_process_ends_all_who_wait() -> None:
    feed = EventFeed("e")
    waiting = feed.subscribe()
    reader = asyncio.create_task(waiting.next(60.0))
    await asyncio.sleep(0)
    feed.close()
    assert await asyncio.wait_for(reader, 1.0) is None
    assert waiting.ended
    with pytest.raises(Unavailable, match="ending"):
        feed.subscribe()


class Client:
    """The other side of an ASGI application.

    Attributes:
        messages: What it was sent.
        frozen: Whether it takes nothing.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, object]] = []
        self.frozen = False
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, object]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, object]) -> None:
        if self.frozen:
            await asyncio.Event().wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)  # type: ignore[misc]


def serve(stream: EventStream, client: Client) -> asyncio.Task[None]:
    return asyncio.create_task(stream({"type": "http"}, client.receive, client.send))  # type: ignore[arg-type]


async def test_a_stream_sends_what_there_is_then_what_happens_then_ends_with_its_rollout() -> None:
    feed, client = EventFeed("e"), Client()
    stream = EventStream(feed.subscribe("m-1"), "e", [Notice(0, "rollout", "m-1", b'{"a":1}')])
    running = serve(stream, client)
    await asyncio.sleep(0.01)
    feed.publish("rollout", "m-1", b'{"a":2}')
    feed.publish("rollout", "m-1", b'{"a":3}', final=True)
    await asyncio.wait_for(running, 1.0)
    assert client.body == (
        b"retry: 2000\n\n"
        b'id: e-0\nevent: rollout\ndata: {"a":1}\n\n'
        b'id: e-1\nevent: rollout\ndata: {"a":2}\n\n'
        b'id: e-2\nevent: rollout\ndata: {"a":3}\n\n'
    )
    assert client.messages[-1]["more_body"] is False
    assert feed.subscribers == 0


async def test_a_stream_of_everything_outlives_a_rollout() -> None:
    feed, client = EventFeed("e"), Client()
    running = serve(EventStream(feed.subscribe(), "e"), client)
    await asyncio.sleep(0.01)
    feed.publish("rollout", "m-1", b"{}", final=True)
    await asyncio.sleep(0.01)
    assert not running.done()
    feed.close()
    await asyncio.wait_for(running, 1.0)
    assert client.messages[-1]["more_body"] is False


async def test_silence_is_broken_by_heartbeats() -> None:
    feed, client = EventFeed("e"), Client()
    running = serve(EventStream(feed.subscribe(), "e", heartbeat_s=0.01), client)
    await asyncio.sleep(0.05)
    assert b": alive\n\n" in client.body
    feed.close()
    await asyncio.wait_for(running, 1.0)


async def test_a_client_that_leaves_frees_its_place() -> None:
    feed, client = EventFeed("e"), Client()
    running = serve(EventStream(feed.subscribe(), "e"), client)
    await asyncio.sleep(0.01)
    assert feed.subscribers == 1
    client.gone.set()
    await asyncio.wait_for(running, 1.0)
    assert feed.subscribers == 0


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    feed, client = EventFeed("e"), Client()
    running = serve(EventStream(feed.subscribe(), "e", patience_s=0.02), client)
    await asyncio.sleep(0.01)
    client.frozen = True
    publish(feed, 1)
    await asyncio.wait_for(running, 1.0)
    assert feed.subscribers == 0
