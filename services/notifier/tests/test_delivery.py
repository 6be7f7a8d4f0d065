"""Events on their way from a real broker to real subscribers, all of which misbehave."""

from __future__ import annotations

import time


async def test_an_event_is_delivered_as_distribution_would(delivering) -> None:
    subscriber = await delivering.subscriber()
    await delivering.notifier({"url": subscriber.url, "headers": {"Authorization": ["Bearer x"]}})
    event = delivering.event()
    await delivering.publish(event)
    await subscriber.has(1)
    request = subscriber.requests[0]
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/vnd.docker.distribution.events.v2+json"
    assert request.headers["authorization"] == "Bearer x"
    assert request.document == {"events": [event.document()]}
    assert request.body.startswith(b'{\n   "events": [\n      {\n         "id": ')


async def test_thousands_are_delivered_in_order_of_each_repository(delivering) -> None:
    subscriber = await delivering.subscriber()
    events = [delivering.event(f"team/app{number % 7}") for number in range(2000)]
    for event in events:
        await delivering.js.publish_async(
            f"registry.events.push.{event.target.repository.replace('/', '.')}", event.encode()
        )
    await delivering.js.publish_async_completed()
    started = time.monotonic()
    await delivering.notifier({"url": subscriber.url})
    await subscriber.has(2000, timeout=60)
    print("EVENTS/S", 2000 / (time.monotonic() - started), subscriber.connections)
    assert sorted(subscriber.ids) == sorted(event.id for event in events)
    for repository in {event.target.repository for event in events}:
        wanted = [event.id for event in events if event.target.repository == repository]
        came = [
            event["id"]
            for request in subscriber.requests
            for event in request.events
            if event["target"]["repository"] == repository
        ]
        assert came == wanted
