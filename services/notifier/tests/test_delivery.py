"""Events on their way from a real broker to real subscribers, which misbehave, as do the notifiers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterable

import pytest
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError
from prometheus_client import REGISTRY

import moorage.events.broker
import notifier.place
import notifier.webhooks
from moorage.config.events import Stream
from moorage.events import Event
from moorage.events.stream import ensure_stream
from moorage.events.subjects import DEAD_LETTER_STREAM, STREAM
from notifier.names import LEASE_BUCKET, PLACE_BUCKET, REPLAY_STREAM, consumer_name, replay_subject
from support.subscriber import Request, Subscriber, accepting, answer


def first_deliveries(subscriber: Subscriber, repository: str) -> list[str]:
    """The ids of a repository's events in the order in which each was accepted for the first time."""
    came = [
        event["id"]
        for request in subscriber.accepted
        for event in request.events
        if event["target"]["repository"] == repository
    ]
    return list(dict.fromkeys(came))


def in_order(subscriber: Subscriber, events: Iterable[Event]) -> bool:
    events = list(events)
    return all(
        first_deliveries(subscriber, repository)
        == [event.id for event in events if event.target.repository == repository]
        for repository in {event.target.repository for event in events}
    )


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


async def test_an_event_is_retried_with_its_id_until_it_is_taken(delivering) -> None:
    subscriber = await delivering.subscriber()
    accepting(subscriber, lambda _: len(subscriber.requests) <= 4)
    await delivering.notifier({"url": subscriber.url})
    [identifier] = await delivering.publish(delivering.event())
    await subscriber.until(lambda: bool(subscriber.accepted))
    assert subscriber.ids == [identifier] * 5
    assert len({request.headers["webhook-id"] for request in subscriber.requests}) == 1


async def test_order_within_each_repository_survives_failures(delivering) -> None:
    subscriber = await delivering.subscriber()
    dice = random.Random(7)
    accepting(subscriber, lambda _: dice.random() < 0.3)
    await delivering.notifier({"url": subscriber.url, "backoff": "10ms"})
    events = [delivering.event(f"team/app{dice.randrange(5)}") for _ in range(150)]
    await delivering.publish(*events)
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 150)
    assert in_order(subscriber, events)


async def test_with_one_request_at_a_time_all_are_in_order(delivering) -> None:
    subscriber = await delivering.subscriber()
    accepting(subscriber, lambda _: len(subscriber.requests) % 3 == 0)
    await delivering.notifier({"url": subscriber.url, "concurrency": 1, "backoff": "10ms"})
    identifiers = await delivering.publish(*(delivering.event(f"app{number % 4}") for number in range(40)))
    await subscriber.until(lambda: len(subscriber.accepted) == 40)
    assert [request.events[0]["id"] for request in subscriber.accepted] == identifiers


async def test_endpoints_that_are_dead_or_slow_delay_no_other(delivering) -> None:
    good, slow, dead = [await delivering.subscriber() for _ in range(3)]
    dead_url = dead.url
    await dead.stop()

    async def tarpit(_: Request, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    slow.behave = tarpit
    running = await delivering.notifier({"url": dead_url}, {"url": slow.url}, {"url": good.url})
    started = time.monotonic()
    await delivering.publish(*(delivering.event(f"app{number % 4}") for number in range(100)))
    await good.has(100)
    assert time.monotonic() - started < 5
    assert await running.healthy()


async def test_after_threshold_failures_attempts_are_a_growing_backoff_apart(delivering) -> None:
    subscriber = await delivering.subscriber()
    subscriber.behave = answer(503)
    settings = {"url": subscriber.url, "threshold": 3, "backoff": "200ms", "maxbackoff": "400ms"}
    await delivering.notifier(settings)
    await delivering.publish(*(delivering.event(f"app{number}") for number in range(6)))
    await subscriber.has(4)
    # As many as were under way when the endpoint was given up, and one at a time since.
    await asyncio.sleep(0.1)
    before = len(subscriber.requests)
    await subscriber.has(before + 3)
    times = [request.at for request in subscriber.requests[before - 1 :]]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert min(gaps) > 0.14
    assert gaps[-1] > 0.3


async def test_what_stays_away_longer_is_delivered_when_it_is_back(delivering) -> None:
    subscriber = await delivering.subscriber()
    await subscriber.stop()
    running = await delivering.notifier(
        {"url": subscriber.url, "threshold": 2, "backoff": "50ms", "maxbackoff": "100ms"}
    )
    events = [delivering.event(f"app{number % 3}") for number in range(30)]
    await delivering.publish(*events)
    await running.webhooks(well=False)
    assert await running.healthy()
    accepting(subscriber)
    await subscriber.start()
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 30)
    await running.webhooks(well=True)
    assert in_order(subscriber, events)


async def test_what_an_endpoint_ignores_it_is_not_told(delivering) -> None:
    subscriber = await delivering.subscriber()
    await delivering.notifier(
        {
            "url": subscriber.url,
            "ignoredmediatypes": ["a/b"],
            "ignore": {"mediatypes": ["c/d"], "actions": ["pull"]},
            "repositories": ["team/*", "**/cache"],
        }
    )
    wanted = [delivering.event("team/app"), delivering.event("other/cache"), delivering.event("team/x")]
    await delivering.publish(
        delivering.event("team/app", media_type="a/b"),
        wanted[0],
        delivering.event("team/app", media_type="c/d"),
        delivering.event("team/app", action="pull"),
        delivering.event("other/app"),
        wanted[1],
        delivering.event("team/app/deep"),
        wanted[2],
    )
    await subscriber.has(3)
    await asyncio.sleep(0.1)
    assert sorted(subscriber.ids) == sorted(event.id for event in wanted)
    info = await delivering.js.consumer_info(STREAM, consumer_name("hook0"))
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_events_are_put_together_into_batches(delivering) -> None:
    subscriber = await delivering.subscriber()
    identifiers = await delivering.publish(*(delivering.event(f"app{number % 3}") for number in range(25)))
    await delivering.notifier({"url": subscriber.url, "batch": {"events": 10, "wait": "1s"}})
    await subscriber.until(lambda: len(subscriber.ids) == 25)
    assert [len(request.events) for request in subscriber.requests] == [10, 10, 5]
    assert sorted(subscriber.ids) == sorted(identifiers)
    assert len({request.headers["webhook-id"] for request in subscriber.requests}) == 3


async def test_an_event_that_is_refused_does_not_hold_up_the_rest_of_its_batch(delivering) -> None:
    subscriber = await delivering.subscriber()
    poison = delivering.event("app0")
    accepting(subscriber, lambda request: any(event["id"] == poison.id for event in request.events))
    await delivering.notifier(
        {"url": subscriber.url, "batch": {"events": 10, "wait": "100ms"}, "maxattempts": 3, "backoff": "10ms"}
    )
    others = [delivering.event(f"app{number % 3}") for number in range(9)]
    await delivering.publish(poison, *others)
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 9)
    assert in_order(subscriber, others)
    await delivering.dead_letters(1)


async def test_an_event_becomes_a_dead_letter_after_maxattempts_and_the_next_one_passes(delivering) -> None:
    subscriber = await delivering.subscriber()
    poison, after = delivering.event(), delivering.event()
    accepting(subscriber, lambda request: request.events[0]["id"] == poison.id)
    await delivering.notifier({"url": subscriber.url, "maxattempts": 4, "backoff": "20ms"})
    await delivering.publish(poison, after)
    await subscriber.until(lambda: bool(subscriber.accepted))
    assert subscriber.ids == [poison.id] * 4 + [after.id]
    [letter] = await delivering.dead_letters(1)
    assert Event.decode(letter.data) == poison
    assert letter.headers["Moorage-Endpoint"] == "hook0"
    assert letter.headers["Moorage-Attempts"] == "4"
    assert letter.headers["Moorage-Reason"].startswith("500")


async def test_events_of_an_endpoint_that_is_away_become_dead_letters_after_maxage(delivering) -> None:
    subscriber = await delivering.subscriber()
    await subscriber.stop()
    await delivering.notifier({"url": subscriber.url, "maxage": "1s", "threshold": 1, "backoff": "30s"})
    identifiers = await delivering.publish(*(delivering.event(f"app{number}") for number in range(20)))
    letters = await delivering.dead_letters(20)
    assert sorted(Event.decode(letter.data).id for letter in letters) == sorted(identifiers)


async def test_a_message_that_is_no_event_is_put_aside(delivering) -> None:
    subscriber = await delivering.subscriber()
    await delivering.notifier({"url": subscriber.url})
    await delivering.js.publish("registry.events.push.app", b"\xff not an event")
    [identifier] = await delivering.publish(delivering.event())
    await subscriber.has(1)
    assert subscriber.ids == [identifier]
    [letter] = await delivering.dead_letters(1)
    assert letter.data == b"\xff not an event"


async def test_a_replayed_event_goes_to_one_endpoint_only(delivering) -> None:
    one, other = [await delivering.subscriber() for _ in range(2)]
    await delivering.notifier({"url": one.url}, {"url": other.url})
    event = delivering.event()
    await delivering.publish(event)
    await one.has(1)
    await other.has(1)
    await delivering.js.publish(replay_subject("hook0"), event.encode(), stream=REPLAY_STREAM)
    await one.has(2)
    assert one.ids == [event.id] * 2
    await asyncio.sleep(0.1)
    assert other.ids == [event.id]


async def test_a_restart_of_the_notifier_goes_on_where_it_was(delivering) -> None:
    subscriber = await delivering.subscriber()
    running = await delivering.notifier({"url": subscriber.url})
    first = await delivering.publish(delivering.event())
    await subscriber.has(1)
    await running.stop()
    second = await delivering.publish(delivering.event(), delivering.event())
    await delivering.notifier({"url": subscriber.url})
    await subscriber.has(3)
    await asyncio.sleep(0.1)
    assert subscriber.ids == [*first, *second]


async def test_what_a_notifier_has_in_hand_when_it_stops_is_delivered_first_by_the_next(delivering) -> None:
    subscriber = await delivering.subscriber()
    subscriber.behave = answer(500)
    settings = {"url": subscriber.url, "threshold": 1, "backoff": "20s"}
    running = await delivering.notifier(settings)
    events = [delivering.event(f"app{number % 3}") for number in range(30)]
    await delivering.publish(*events[:20])
    await subscriber.has(1)
    accepting(subscriber)
    await running.stop()
    await delivering.publish(*events[20:])
    started = time.monotonic()
    await delivering.notifier(settings)
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 30)
    assert time.monotonic() - started < 3
    assert in_order(subscriber, events)


async def test_nothing_is_lost_or_disordered_when_the_broker_is_killed(delivering) -> None:
    subscriber = await delivering.subscriber()
    accepting(subscriber, lambda _: len(subscriber.requests) % 4 == 0)
    running = await delivering.notifier({"url": subscriber.url, "backoff": "10ms"})
    events = [delivering.event(f"app{number % 3}") for number in range(90)]
    for part in range(3):
        await delivering.publish(*events[30 * part : 30 * part + 30])
        await subscriber.until(lambda part=part: len(subscriber.accepted_ids) >= 30 * part + 5)
        await delivering.broker.kill()
        await running.becomes(healthy=False)
        await delivering.broker.start()
        await delivering.connect()
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 90)
    assert in_order(subscriber, events)


async def test_an_event_whose_acknowledgement_was_lost_is_not_sent_again(delivering) -> None:
    subscriber = await delivering.subscriber()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go_on.wait()
        await answer(200)(request, writer)

    subscriber.behave = behave
    running = await delivering.notifier({"url": subscriber.url})
    [first] = await delivering.publish(delivering.event())
    await reached.wait()
    await delivering.broker.kill()
    go_on.set()
    await running.becomes(healthy=False)
    await delivering.broker.start()
    await delivering.connect()
    [second] = await delivering.publish(delivering.event())
    await subscriber.has(2, timeout=60)
    assert subscriber.ids == [first, second]


async def test_two_notifiers_share_the_work_and_one_that_is_killed_is_replaced(delivering) -> None:
    subscriber = await delivering.subscriber()
    accepting(subscriber)
    settings = {"url": subscriber.url}
    notifiers = await delivering.processes(2, settings)
    events = [delivering.event(f"app{number % 3}") for number in range(400)]
    await delivering.publish(*events[:100])
    await subscriber.until(lambda: len(subscriber.accepted_ids) > 30)
    holder = await delivering.holder("hook0")
    [active] = [each for each in notifiers if f"/{each.pid}/" in holder]
    publishing = asyncio.create_task(delivering.publish(*events[100:]))
    await subscriber.until(lambda: len(subscriber.accepted_ids) > 150)
    active.kill()
    await publishing
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 400)
    assert in_order(subscriber, events)
    assert await delivering.holder("hook0") != holder
    duplicates = len(subscriber.ids) - 400
    assert duplicates <= 8, "as many as requests were under way"


async def test_a_notifier_that_was_stopped_for_a_while_does_not_disturb_the_one_that_took_over(
    delivering,
) -> None:
    subscriber = await delivering.subscriber()
    accepting(subscriber)
    notifiers = await delivering.processes(2, {"url": subscriber.url})
    events = [delivering.event(f"app{number % 3}") for number in range(300)]
    await delivering.publish(*events[:50])
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 50)
    [active] = [each for each in notifiers if f"/{each.pid}/" in await delivering.holder("hook0")]
    active.pause()
    await delivering.publish(*events[50:200])
    await subscriber.until(lambda: len(subscriber.accepted_ids) > 100)
    active.resume()
    await delivering.publish(*events[200:])
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 300)
    assert in_order(subscriber, events)


async def test_a_message_that_another_client_took_holds_up_what_follows_until_it_is_back(delivering) -> None:
    subscriber = await delivering.subscriber()
    accepting(subscriber)
    running = await delivering.notifier({"url": subscriber.url})
    events = [delivering.event() for _ in range(11)]
    await delivering.publish(events[0])
    await subscriber.has(1)
    await running.stop()
    await delivering.publish(*events[1:5])
    thief = await delivering.js.pull_subscribe_bind(consumer_name("hook0"), stream=STREAM)
    assert len(await thief.fetch(2)) == 2
    await delivering.notifier({"url": subscriber.url})
    await delivering.publish(*events[5:])
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 11)
    assert in_order(subscriber, events)


async def test_events_that_leave_the_stream_before_their_time_are_counted(delivering) -> None:
    subscriber = await delivering.subscriber()
    running = await delivering.notifier({"url": subscriber.url, "name": "forgetful"})
    await delivering.publish(delivering.event())
    await subscriber.has(1)
    await running.stop()
    await delivering.publish(*(delivering.event() for _ in range(4)))
    found = (await delivering.js.stream_info(STREAM)).config
    await delivering.js.update_stream(found.evolve(max_msgs=1))
    await delivering.notifier({"url": subscriber.url, "name": "forgetful"})
    await subscriber.has(2)
    assert REGISTRY.get_sample_value("registry_notifications_lost_total", {"endpoint": "forgetful"}) == 3


async def test_a_place_of_another_take_over_time_is_adapted(delivering) -> None:
    subscriber = await delivering.subscriber()
    running = await delivering.notifier({"url": subscriber.url})
    await running.stop()
    await delivering.notifier({"url": subscriber.url}, takeover="3s")
    await delivering.publish(delivering.event())
    await subscriber.has(1)
    info = await delivering.js.consumer_info(STREAM, consumer_name("hook0"))
    assert info.config.ack_wait == 3
    assert (await delivering.js.stream_info("KV_REGISTRY_NOTIFIERS")).config.max_age == 3


async def test_a_new_endpoint_hears_of_the_last_minute_and_nothing_before(delivering) -> None:
    subscriber = await delivering.subscriber()
    [identifier] = await delivering.publish(delivering.event())
    await delivering.notifier({"url": subscriber.url})
    await subscriber.has(1)
    assert subscriber.ids == [identifier]
    config: ConsumerConfig = (await delivering.js.consumer_info(STREAM, consumer_name("hook0"))).config
    assert config.opt_start_time is not None
    assert 50 < time.time() - config.opt_start_time.timestamp() < 80


async def test_without_endpoints_nothing_is_made(delivering) -> None:
    await delivering.notifier()
    with pytest.raises(NotFoundError):
        await delivering.js.stream_info(DEAD_LETTER_STREAM)


async def test_a_disabled_endpoint_is_left_alone(delivering) -> None:
    one, other = [await delivering.subscriber() for _ in range(2)]
    await delivering.notifier({"url": one.url, "disabled": True}, {"url": other.url})
    await delivering.publish(delivering.event())
    await other.has(1)
    assert not one.requests


@pytest.fixture
def no_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new endpoint hears of nothing that happened before."""
    monkeypatch.setattr(notifier.place, "_HEAD_START", 0.0)


async def bookmark(delivering, sequence: int) -> None:
    """Wait until it is remembered that the endpoint has everything up to there."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(NotFoundError):
                entry = await (await delivering.js.key_value(PLACE_BUCKET)).get(consumer_name("hook0"))
                if json.loads(entry.value)["sequence"] == sequence:
                    return
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("no_head_start")
@pytest.mark.parametrize("notifier_runs", [True, False])
async def test_a_place_that_was_deleted_is_made_again_where_it_was(delivering, notifier_runs: bool) -> None:
    subscriber = await delivering.subscriber()
    running = await delivering.notifier({"url": subscriber.url})
    events = [delivering.event() for _ in range(9)]
    await delivering.has_a_consumer()
    await delivering.publish(*events[:3])
    await subscriber.has(3)
    await bookmark(delivering, 3)
    accepting(subscriber, lambda _: len(subscriber.requests) < 6)
    if not notifier_runs:
        await running.stop()
    await delivering.publish(*events[3:6])
    await delivering.js.delete_consumer(STREAM, consumer_name("hook0"))
    await delivering.publish(*events[6:])
    if not notifier_runs:
        await delivering.notifier({"url": subscriber.url})
    await subscriber.until(lambda: len(subscriber.accepted_ids) == 6)
    assert first_deliveries(subscriber, "team/app") == [event.id for event in events[3:]]
    assert set(subscriber.ids[3:]) == {event.id for event in events[3:]}


@pytest.mark.usefixtures("no_head_start")
async def test_of_a_stream_that_was_made_anew_an_endpoint_gets_everything(delivering) -> None:
    subscriber = await delivering.subscriber()
    running = await delivering.notifier({"url": subscriber.url})
    await delivering.has_a_consumer()
    await delivering.publish(*(delivering.event() for _ in range(3)))
    await subscriber.has(3)
    await bookmark(delivering, 3)
    await running.stop()
    await delivering.js.delete_stream(STREAM)
    await ensure_stream(delivering.js, Stream())
    identifiers = await delivering.publish(*(delivering.event() for _ in range(2)))
    await delivering.notifier({"url": subscriber.url})
    await subscriber.has(5)
    assert subscriber.ids[3:] == identifiers


@pytest.mark.usefixtures("no_head_start")
async def test_delivery_goes_on_when_the_stream_is_deleted_under_it(
    delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moorage.events.broker, "CHECK_INTERVAL", 0.1)
    subscriber = await delivering.subscriber()
    await delivering.notifier({"url": subscriber.url})
    await delivering.has_a_consumer()
    await delivering.publish(delivering.event())
    await subscriber.has(1)
    await bookmark(delivering, 1)
    await delivering.js.delete_stream(STREAM)
    await ensure_stream(delivering.js, Stream())
    [identifier] = await delivering.publish(delivering.event())
    await subscriber.has(2)
    assert subscriber.ids[1:] == [identifier]


async def test_what_the_notifier_needs_it_makes_again_when_it_is_deleted(
    delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier.webhooks, "CHECK_INTERVAL", 0.1)
    subscriber = await delivering.subscriber()
    poison, after = delivering.event(), delivering.event()
    accepting(subscriber, lambda request: request.events[0]["id"] == poison.id)
    await delivering.notifier({"url": subscriber.url, "maxattempts": 2, "backoff": "10ms"})
    await delivering.holder("hook0")
    for stream in (DEAD_LETTER_STREAM, REPLAY_STREAM, f"KV_{LEASE_BUCKET}", f"KV_{PLACE_BUCKET}"):
        await delivering.js.delete_stream(stream)
    await delivering.publish(poison, after)
    await subscriber.until(lambda: bool(subscriber.accepted))
    assert subscriber.accepted_ids == {after.id}
    await delivering.dead_letters(1)
    assert await delivering.holder("hook0")


async def holders(delivering, count: int) -> list[str]:
    return [await delivering.holder(f"shared{number}") for number in range(count)]


def retries(endpoint: str) -> float:
    """How many events were sent again after a failure; a busy machine may answer too late."""
    return REGISTRY.get_sample_value("registry_notifications_retries_total", {"endpoint": endpoint}) or 0


async def divided(delivering, count: int, *shares: int) -> None:
    """Wait until so many endpoints are divided among notifiers in this way."""
    async with asyncio.timeout(20):
        while sorted(Counter(await holders(delivering, count)).values()) != sorted(shares):
            await asyncio.sleep(0.05)


async def test_notifiers_divide_the_endpoints_and_take_over_those_of_one_that_leaves(delivering) -> None:
    subscribers = [await delivering.subscriber() for _ in range(5)]
    for subscriber in subscribers:
        accepting(subscriber)
    endpoints = [
        {"url": subscriber.url, "name": f"shared{number}"} for number, subscriber in enumerate(subscribers)
    ]
    events = [delivering.event(f"app{number % 3}") for number in range(120)]
    publishing = asyncio.create_task(delivering.publish(*events[:40]))
    await delivering.notifier(*endpoints, takeover="5s")
    await divided(delivering, 5, 5)
    await publishing
    second = await delivering.notifier(*endpoints, takeover="5s")
    publishing = asyncio.create_task(delivering.publish(*events[40:80]))
    await divided(delivering, 5, 2, 3)
    await publishing
    publishing = asyncio.create_task(delivering.publish(*events[80:]))
    await second.stop()
    await divided(delivering, 5, 5)
    await publishing
    for number, subscriber in enumerate(subscribers):
        await subscriber.until(lambda subscriber=subscriber: len(subscriber.accepted_ids) == 120)
        assert in_order(subscriber, events)
        repeated = len(subscriber.ids) - 120
        assert repeated == retries(f"shared{number}"), "who hands an endpoint over has ended its attempts"


async def test_an_endpoint_that_only_one_notifier_knows_is_delivered_to_whatever_the_shares_are(
    delivering,
) -> None:
    subscribers = [await delivering.subscriber() for _ in range(3)]
    await delivering.notifier({"url": subscribers[0].url})
    await delivering.notifier(*({"url": subscriber.url} for subscriber in subscribers))
    await delivering.publish(delivering.event())
    for subscriber in subscribers:
        await subscriber.has(1)


async def test_the_largest_batch_is_filled_while_another_one_is_under_way(delivering) -> None:
    subscriber = await delivering.subscriber()
    await delivering.publish(*(delivering.event(f"app{number % 40}") for number in range(600)))
    await delivering.notifier(
        {"url": subscriber.url, "timeout": "5s", "batch": {"events": 256, "wait": "3s"}}
    )
    await subscriber.until(lambda: len(subscriber.ids) == 600)
    assert [len(request.events) for request in subscriber.requests] == [256, 256, 88]
