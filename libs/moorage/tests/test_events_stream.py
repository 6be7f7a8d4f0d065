from __future__ import annotations

import pytest
from nats.js.api import StorageType, StreamConfig

from moorage.config.events import Stream
from moorage.events.stream import UnusableStreamError, check, configuration, covers
from moorage.events.subjects import STREAM, SUBJECTS


@pytest.mark.parametrize("subject", ["registry.events.>", "registry.>", ">", "*.events.>", "registry.*.>"])
def test_a_subject_that_takes_every_event_covers_them(subject: str) -> None:
    assert covers(["orders.*", subject], SUBJECTS)


@pytest.mark.parametrize(
    "subject", ["registry.events", "registry.events.*", "registry.events.push.>", "registry.*", "events.>"]
)
def test_a_subject_that_takes_only_some_events_does_not(subject: str) -> None:
    assert not covers([subject], SUBJECTS)


def test_the_stream_that_is_made_passes_the_check() -> None:
    check(configuration(Stream()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subjects": ["registry.events.push"]}, "does not take the subjects"),
        ({"subjects": None}, "does not take the subjects"),
        ({"storage": StorageType.MEMORY}, "kept in memory"),
        ({"no_ack": True}, "acknowledges nothing"),
        ({"sealed": True}, "is sealed"),
    ],
)
def test_a_stream_that_would_lose_events_is_refused(change: dict[str, object], reason: str) -> None:
    found: StreamConfig = configuration(Stream()).evolve(**change)
    with pytest.raises(UnusableStreamError, match=f"{STREAM} .*{reason}|{STREAM} {reason}"):
        check(found)
