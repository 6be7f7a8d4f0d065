"""`moorage events` against a real broker, with notifiers that deliver."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from datetime import UTC, datetime, timedelta

import pytest
from nats.js.errors import NotFoundError

from moorage.events import Event
from moorage.events.subjects import DEAD_LETTER_STREAM, STREAM
from notifier.names import REPLAY_STREAM, consumer_name
from support.subscriber import Request, accepting, answer


def documents(out: str) -> list:
    return [json.loads(line) for line in out.splitlines()]


async def no_readers(delivering) -> bool:
    """Whether commands left no consumer behind."""
    found = []
    for stream in (STREAM, DEAD_LETTER_STREAM):
        with contextlib.suppress(NotFoundError):
            found += await delivering.js.consumers_info(stream)
    return all(info.name.startswith("webhook_") for info in found)


async def buried(delivering, count: int, **settings) -> tuple[list[Event], object, object]:
    """So many dead letters of the endpoint hook0, in three repositories; its subscriber, and the notifier."""
    subscriber = await delivering.subscriber()
    subscriber.behave = answer(500)
    running = await delivering.notifier(
        {"url": subscriber.url, "maxattempts": 1, "backoff": "1ms", "threshold": 1000, **settings}
    )
    events = [delivering.event(f"app{number % 3}") for number in range(count)]
    await delivering.publish(*events)
    await delivering.dead_letters(count)
    return events, subscriber, running


async def test_tail_prints_events_as_they_happen_until_it_is_stopped(delivering) -> None:
    delivering.config()
    await delivering.publish(delivering.event("before"))
    command = delivering.start_command("tail", "--json")
    await delivering.has_a_consumer()
    events = [delivering.event(), delivering.event()]
    for number, event in enumerate(events, 1):
        await delivering.publish(event)
        async with asyncio.timeout(20):
            while len(command.out.splitlines()) < number:
                await asyncio.sleep(0.02)
    command.signal(signal.SIGINT)
    assert await asyncio.to_thread(command.wait) == 0
    assert documents(command.out) == [event.document() for event in events]
    assert command.err == ""
    assert await no_readers(delivering)


async def test_tail_prints_what_happened_since_a_time_of_some_actions_and_repositories(delivering) -> None:
    delivering.config()
    events = [
        delivering.event("team/app"),
        delivering.event("team/app", action="pull"),
        delivering.event("other"),
        delivering.event("team/deep/app"),
    ]
    await delivering.publish(*events)

    async def ids(*options: str) -> list[str]:
        out, _ = await delivering.command("tail", "--no-follow", "--json", *options)
        return [document["id"] for document in documents(out)]

    assert await ids() == [event.id for event in events]
    assert await ids("--since", "1970-01-01T00:00:00Z") == [event.id for event in events]
    assert await ids("--since", "1h", "--action", "push") == [events[n].id for n in (0, 2, 3)]
    assert await ids("--repository", "team/*", "--action", "push") == [events[0].id]
    later = datetime.now(UTC) + timedelta(seconds=5)
    assert await ids("--since", later.isoformat().replace("+00:00", "Z")) == []


async def test_tail_is_readable_and_shows_nothing_that_a_terminal_would_obey(delivering) -> None:
    delivering.config()
    event = delivering.event("team/app", tag="v1\x1b[2J")
    await delivering.publish(event)
    out, _ = await delivering.command("tail", "--no-follow")
    assert "push" in out
    assert f"team/app:v1?[2J@{event.target.digest}" in out
    assert "\x1b" not in out


async def test_endpoints_are_listed_with_their_state(delivering) -> None:
    good, bad = [await delivering.subscriber() for _ in range(2)]
    bad.behave = answer(503)
    await delivering.notifier(
        {"url": f"{good.url}?token=hidden", "name": "gut"},
        {"url": bad.url, "threshold": 1, "backoff": "20s"},
        {"url": good.url, "disabled": True},
    )
    await delivering.publish(*(delivering.event() for _ in range(3)))
    await good.has(3)
    await bad.has(1)
    states = {}
    async with asyncio.timeout(20):
        while states.get("hook1", {}).get("state") != "failing":
            out, _ = await delivering.command("endpoints", "--json")
            states = {state["name"]: state for state in json.loads(out)}
    assert set(states) == {"gut", "hook1", "hook2"}
    assert (states["gut"]["state"], states["gut"]["pending"]) == ("delivering", 0)
    assert states["gut"]["url"] == f"{good.url}?<redacted>"
    assert (states["hook1"]["pending"], states["hook1"]["failures"]) == (3, 1)
    assert states["hook1"]["reason"].startswith("503")
    assert states["hook2"]["state"] == "disabled"
    out, _ = await delivering.command("endpoints")
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["NAME", "STATE", "PENDING"]
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["gut", "delivering", "0"],
        ["hook1", "failing", "3"],
    ]
    assert "hidden" not in out


async def test_without_a_notifier_endpoints_wait(delivering) -> None:
    subscriber = await delivering.subscriber()
    running = await delivering.notifier({"url": subscriber.url})
    await delivering.publish(delivering.event())
    await subscriber.has(1)
    await running.stop()
    await delivering.publish(delivering.event())
    out, _ = await delivering.command("endpoints", "--json")
    [state] = json.loads(out)
    assert (state["state"], state["pending"], state["holder"]) == ("waiting", 1, "")


async def test_dead_letters_say_when_and_why(delivering) -> None:
    events, _, _ = await buried(delivering, 2)
    await delivering.js.publish("registry.events.push.app", b"not an event")
    await delivering.dead_letters(3)
    out, _ = await delivering.command("dead-letters", "--json")
    found = documents(out)
    assert {letter["event"]["id"] for letter in found[:2]} == {event.id for event in events}
    assert [(each["endpoint"], each["attempts"]) for each in found] == [
        ("hook0", 1),
        ("hook0", 1),
        ("hook0", 0),
    ]
    assert found[0]["reason"].startswith("500")
    assert (found[2]["event"], found[2]["reason"]) == (None, "not an event")
    out, _ = await delivering.command("dead-letters", "--endpoint", "hook0", "--since", "1h")
    assert len(out.splitlines()) == 3
    assert f"{events[0].id}" in out
    assert (await delivering.command("dead-letters", "--endpoint", "another"))[0] == ""


async def test_dead_letters_are_replayed_in_order_and_are_gone(delivering) -> None:
    events, subscriber, _ = await buried(delivering, 12)
    await delivering.js.publish("registry.events.push.app", b"not an event")
    await delivering.dead_letters(13)
    accepting(subscriber)
    out, err = await delivering.command("replay", "--endpoint", "hook0", "--dry-run")
    assert out.splitlines()[-1] == "12 events would be told once more"
    await delivering.dead_letters(13)
    out, err = await delivering.command("replay", "--endpoint", "hook0")
    assert out.splitlines()[-1] == "12 events are being told once more"
    assert "not an event" in err
    await subscriber.until(lambda: len(subscriber.accepted) == 12)
    for repository in ("app0", "app1", "app2"):
        came = [
            e["id"] for r in subscriber.accepted for e in r.events if e["target"]["repository"] == repository
        ]
        assert came == [event.id for event in events if event.target.repository == repository]
    await delivering.dead_letters(1)
    out, _ = await delivering.command("replay", "--endpoint", "hook0", "-q")
    assert out == "0 events are being told once more\n"


async def test_one_dead_letter_is_replayed_by_the_id_of_its_event(delivering) -> None:
    events, subscriber, _ = await buried(delivering, 3)
    accepting(subscriber)
    out, _ = await delivering.command("replay", "--id", events[1].id, "--json")
    assert documents(out) == [events[1].document(), {"summary": {"events": 1, "dryrun": False}}]
    await subscriber.until(lambda: len(subscriber.accepted) == 1)
    assert subscriber.accepted[0].events[0]["id"] == events[1].id
    await delivering.dead_letters(2)
    _, err = await delivering.command("replay", "--id", events[1].id, status=1)
    assert "no dead letter" in err


async def test_an_event_that_dies_again_after_its_replay_is_a_dead_letter_again(delivering) -> None:
    [event], subscriber, _ = await buried(delivering, 1)
    before = len(subscriber.requests)
    await delivering.command("replay", "--endpoint", "hook0")
    await subscriber.has(before + 1)
    [letter] = await delivering.dead_letters(1)
    assert Event.decode(letter.data) == event
    assert letter.seq == 2


async def test_the_stream_is_replayed_since_a_time_to_one_endpoint_alone(delivering) -> None:
    one, other = [await delivering.subscriber() for _ in range(2)]
    await delivering.notifier({"url": one.url}, {"url": other.url})
    events = [delivering.event() for _ in range(6)]
    await delivering.publish(*events[:3])
    await one.has(3)
    await other.has(3)
    since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await delivering.publish(*events[3:])
    await one.has(6)
    await other.has(6)
    out, _ = await delivering.command("replay", "--endpoint", "hook0", "--since", since, "-q")
    assert out == "3 events are being told once more\n"
    await one.has(9)
    assert one.ids == [event.id for event in [*events, *events[3:]]]
    # The same once more is not taken for a repetition of it.
    await delivering.command("replay", "--endpoint", "hook0", "--since", since, "--id", events[4].id)
    await one.has(10)
    assert one.ids[9:] == [events[4].id]
    assert other.ids == [event.id for event in events]
    info = await delivering.js.stream_info(REPLAY_STREAM)
    async with asyncio.timeout(20):
        while info.state.messages:
            info = await delivering.js.stream_info(REPLAY_STREAM)
    assert await no_readers(delivering)


async def test_a_replay_waits_its_turn_in_its_repository_and_delays_no_other_endpoint(delivering) -> None:
    slow, other = [await delivering.subscriber() for _ in range(2)]
    go_on = asyncio.Event()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer(200)(request, writer)

    await delivering.notifier({"url": slow.url, "timeout": "30s"}, {"url": other.url})
    first = delivering.event()
    await delivering.publish(first)
    await slow.has(1)
    await other.has(1)
    slow.behave = behave
    await delivering.command("replay", "--endpoint", "hook0", "--since", "1h")
    await slow.has(2)
    second = delivering.event()
    await delivering.publish(second)
    await other.has(2)
    assert slow.ids == [first.id, first.id]
    go_on.set()
    await slow.has(3)
    assert slow.ids == [first.id, first.id, second.id]


async def test_an_endpoint_that_is_not_there_is_not_replayed_to(delivering) -> None:
    subscriber = await delivering.subscriber()
    await delivering.notifier({"url": subscriber.url})
    await delivering.publish(delivering.event())
    await subscriber.has(1)
    _, err = await delivering.command("replay", "--endpoint", "hok0", "--since", "1h", status=2)
    assert "no endpoint 'hok0'; there are: 'hook0'" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay",), "--endpoint"),
        (("replay", "--since", "1h"), "which endpoint"),
        (("replay", "--since", "yesterday", "-e", "a"), "neither a duration nor"),
        (("tail", "--action", "tag"), "no action"),
        (("tail", "--repository", "a b"), "not a glob"),
    ],
    ids=["nothing", "no-endpoint", "no-time", "no-action", "no-glob"],
)
async def test_a_wrong_command_line_says_what_is_wrong(delivering, arguments, said: str) -> None:
    delivering.config()
    _, err = await delivering.command(*arguments, status=2)
    assert said in err


async def test_a_full_stream_of_replays_stops_a_replay_which_says_how_far_it_came(delivering) -> None:
    _, _, running = await buried(delivering, 5)
    await running.stop()
    found = (await delivering.js.stream_info(REPLAY_STREAM)).config
    await delivering.js.update_stream(found.evolve(max_msgs=3))
    _, err = await delivering.command("replay", "--endpoint", "hook0", status=1)
    assert "maximum messages exceeded" in err
    assert "3 events before it are replayed" in err
    await delivering.dead_letters(2)


async def test_before_there_was_ever_an_endpoint_there_is_nothing_to_see(delivering) -> None:
    delivering.config()
    with pytest.raises(NotFoundError):
        await delivering.js.consumer_info(STREAM, consumer_name("hook0"))
    assert json.loads((await delivering.command("endpoints", "--json"))[0]) == []
    assert await delivering.command("dead-letters") == ("", "")


async def test_without_a_broker_it_fails_and_says_where_it_looked(delivering) -> None:
    delivering.config()
    await delivering.broker.kill()
    _, err = await delivering.command("endpoints", status=1)
    assert err.startswith(f"moorage: no event stream at nats://127.0.0.1:{delivering.broker.port}: ")


async def test_a_tail_whose_broker_goes_ends_with_a_word(delivering) -> None:
    delivering.config()
    command = delivering.start_command("tail")
    await delivering.has_a_consumer()
    await delivering.broker.kill()
    assert await asyncio.to_thread(command.wait) == 1
    assert command.err.startswith("moorage: the broker failed: ")


async def test_a_broker_that_refuses_is_told_and_its_password_is_not(delivering) -> None:
    await delivering.broker.kill()
    delivering.broker.password = "wr0ng-w0rd"
    delivering.config()
    delivering.broker.password = "right"
    await delivering.broker.start()
    _, err = await delivering.command("dead-letters", status=1)
    assert "uthorization" in err
    assert "w0rd" not in err
