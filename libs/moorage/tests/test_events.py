"""The event as JSON: what endpoints and subscribers on NATS rely on."""

from __future__ import annotations

import json
import time

import pytest

from moorage.events import Actor, Descriptor, Event, InvalidEventError, Request, Source, Target, envelope
from moorage.events.subjects import message_headers, parse_subject, subject
from moorage.events.timestamp import parse_timestamp, rfc3339_nano

REQUEST = Request("asdfasdf", "client.local", "registrycluster.local", "PUT", "test/0.1")
PUSH = Event(
    id="asdf-asdf-asdf-asdf-0",
    timestamp=parse_timestamp("2006-01-02T15:04:05Z"),
    action="push",
    target=Target(
        "library/test",
        media_type="application/vnd.docker.distribution.manifest.v2+json",
        digest="sha256:0123456789abcdef0",
        size=1,
        url="http://example.com/v2/library/test/manifests/latest",
    ),
    request=REQUEST,
    actor=Actor("test-actor"),
    source=Source("hostname.local:port"),
)

# What distribution writes for these values. Source: its test of the format.
ENVELOPE = """\
{
   "events": [
      {
         "id": "asdf-asdf-asdf-asdf-0",
         "timestamp": "2006-01-02T15:04:05Z",
         "action": "push",
         "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": "sha256:0123456789abcdef0",
            "size": 1,
            "length": 1,
            "repository": "library/test",
            "url": "http://example.com/v2/library/test/manifests/latest"
         },
         "request": {
            "id": "asdfasdf",
            "addr": "client.local",
            "host": "registrycluster.local",
            "method": "PUT",
            "useragent": "test/0.1"
         },
         "actor": {
            "name": "test-actor"
         },
         "source": {
            "addr": "hostname.local:port"
         }
      }
   ]
}"""


def test_an_envelope_reads_byte_for_byte_as_distribution_writes_it() -> None:
    assert envelope([PUSH]).decode() == ENVELOPE


def test_an_event_on_nats_is_an_element_of_the_envelope() -> None:
    assert json.loads(PUSH.encode()) == json.loads(ENVELOPE)["events"][0]
    assert b"\n" not in PUSH.encode()


def test_an_envelope_escapes_what_gos_encoder_escapes() -> None:
    event = Event("1", 0, "push", Target("a", url="http://h/?a&b"), Request(user_agent="<é\u2028>"))
    text = envelope([event]).decode()
    assert r'"url": "http://h/?a\u0026b"' in text
    assert r'"useragent": "\u003cé\u2028\u003e"' in text
    assert json.loads(text)["events"][0] == event.document()


def test_a_delete_has_only_repository_and_digest_or_tag() -> None:
    by_digest = Event("1", 0, "delete", Target("team/app", digest="sha256:ab")).document()
    by_tag = Event("1", 0, "delete", Target("team/app", tag="v1")).document()
    assert by_digest["target"] == {"digest": "sha256:ab", "repository": "team/app"}
    assert by_tag["target"] == {"repository": "team/app", "tag": "v1"}


def test_what_always_stands_there_stands_there_empty() -> None:
    document = Event("1", 0, "pull", Target("a")).document()
    assert document["request"] == {"id": "", "method": "", "useragent": ""}
    assert (document["actor"], document["source"]) == ({}, {})


def test_an_event_reads_back_as_it_was() -> None:
    references = (Descriptor("m", "sha256:ab", 3, {"platform": {"os": "linux", "architecture": "arm64"}}),)
    target = Target("b", "m", "sha256:cd", 5, "a", "http://h/v2/b/blobs/sha256:cd", "v1", references)
    event = Event("1", time.time_ns(), "mount", target, REQUEST, Actor("ann"), Source("h:5000", "u"))
    assert Event.decode(event.encode()) == event


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        PUSH.encode().replace(b'"push"', b'"tag"'),
        PUSH.encode().replace(b'"size":1', b'"size":"1"'),
        PUSH.encode().replace(b'"size":1', b'"size":true'),
        PUSH.encode().replace(b"2006-01-02T", b"2006-13-02T"),
        PUSH.encode().replace(b'{"name":"test-actor"}', b"[]"),
    ],
)
def test_what_is_not_an_event_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidEventError):
        Event.decode(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_136_214_245_000_000_000, "2006-01-02T15:04:05Z"),
        (1_136_214_245_120_000_000, "2006-01-02T15:04:05.12Z"),
        (1_136_214_245_000_000_001, "2006-01-02T15:04:05.000000001Z"),
    ],
)
def test_a_timestamp_is_rfc_3339_as_go_formats_it(nanoseconds: int, text: str) -> None:
    assert rfc3339_nano(nanoseconds) == text
    assert parse_timestamp(text) == nanoseconds


def test_a_timestamp_of_another_zone_is_the_same_moment() -> None:
    assert parse_timestamp("2006-01-02T15:04:05+07:00") == parse_timestamp("2006-01-02T08:04:05Z")
    assert parse_timestamp("2006-01-02T01:04:05-07:00") == parse_timestamp("2006-01-02T08:04:05Z")


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("app", "registry.events.push.app"),
        ("team/sub/app", "registry.events.push.team.sub.app"),
        ("team/app.v2", "registry.events.push.team.app%2Ev2"),
        ("team.app/v2", "registry.events.push.team%2Eapp.v2"),
        ("a__b/c-d_e", "registry.events.push.a__b.c-d_e"),
    ],
)
def test_a_subject_names_action_and_repository(repository: str, expected: str) -> None:
    assert subject("push", repository) == expected
    assert parse_subject(expected) == ("push", repository)


@pytest.mark.parametrize("text", ["registry.events.push", "registry.events.tag.app", "orders.push.app", ""])
def test_another_subject_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the subject of an event"):
        parse_subject(text)


def test_a_message_carries_the_events_id() -> None:
    assert message_headers(PUSH.id)["Nats-Msg-Id"] == PUSH.id


def test_an_envelope_is_indented_as_the_library_s_encoder_does_it() -> None:
    others = {
        "annotations": {'ä<\u2028"\\': "b\n\x01"},
        "n": None,
        "t": True,
        "f": 1.5,
        "e": {},
        "l": [],
        "m": [1],
    }
    event = Event("an-id", 1, "push", Target("app", references=(Descriptor("a/b", "d", 3, others),)))
    for events in ([], [event], [event, PUSH]):
        document = {"events": [each.document() for each in events]}
        expected = json.dumps(document, ensure_ascii=False, indent=3)
        assert json.loads(envelope(events)) == document
        assert envelope(events).decode().replace("\\u003c", "<").replace("\\u2028", "\u2028") == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01",
    ],
)
def test_a_time_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_timestamp(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2023-11-14T22:13:20.000000001Z", 1_700_000_000_000_000_001),
        ("2023-11-15T00:13:20.5+02:00", 1_700_000_000_500_000_000),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000_000_000),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert parse_timestamp(text) == nanoseconds
