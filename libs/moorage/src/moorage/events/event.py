"""One registry event, and its JSON: distribution's, field for field.

Source: distribution, "Work with notifications", and its Go types. A field that is empty, zero or unknown is
left out, but for `request`'s `id`, `method` and `useragent`, which always stand there; `target`, `request`,
`actor` and `source` are always objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from moorage.events.timestamp import parse_timestamp, rfc3339_nano

Action = Literal["push", "pull", "mount", "delete"]

ACTIONS: tuple[Action, ...] = get_args(Action)

# A text as a JSON string; it escapes what must be, and nothing else.
_quoted = json.JSONEncoder(ensure_ascii=False).encode

# What Go's encoder escapes, so that JSON can stand in HTML. None of it occurs in JSON outside of strings.
_GO_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class InvalidEventError(ValueError):
    """The text is not an event."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor that a manifest refers to. `others` are the fields beside the three, as they are."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    """Bytes."""

    others: Mapping[str, Any] = field(default_factory=dict)
    """`urls`, `annotations`, `platform`, `artifactType`."""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return _given({"mediaType": self.media_type, "digest": self.digest, "size": self.size, **self.others})


@dataclass(frozen=True, slots=True)
class Target:
    """What it happened to.

    A push, pull or mount names content: media type, digest, size, URL, and the tag when it went by one. A
    delete has nothing but the repository and a digest or a tag.
    """

    repository: str
    media_type: str = ""
    digest: str = ""
    size: int = 0
    """Bytes; JSON has it twice, as `size` and `length`."""

    from_repository: str = ""
    """The repository that a blob was mounted from."""

    url: str = ""
    """The content by its digest."""

    tag: str = ""
    references: tuple[Descriptor, ...] = ()
    """What a manifest refers to, when `notifications.events.includereferences` is set."""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return _given(
            {
                "mediaType": self.media_type,
                "digest": self.digest,
                "size": self.size,
                "length": self.size,
                "repository": self.repository,
                "fromRepository": self.from_repository,
                "url": self.url,
                "tag": self.tag,
                "references": [reference.document() for reference in self.references],
            }
        )


@dataclass(frozen=True, slots=True)
class Request:
    """The request that caused it."""

    id: str = ""
    """The one that stands in the logs as `http.request.id`."""

    addr: str = ""
    """The client's address: `host:port`, or a host alone when a proxy forwarded it."""

    host: str = ""
    method: str = ""
    user_agent: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "id": self.id,
            **_given({"addr": self.addr, "host": self.host}),
            "method": self.method,
            "useragent": self.user_agent,
        }


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it; nobody where the registry is open."""

    name: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return _given({"name": self.name})


@dataclass(frozen=True, slots=True)
class Source:
    """The gateway that saw it."""

    addr: str = ""
    """`hostname:port`."""

    instance_id: str = ""
    """A UUID, new with each start of a process."""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return _given({"addr": self.addr, "instanceID": self.instance_id})


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. It keeps its `id` however often it is sent: an endpoint may see an id twice."""

    id: str
    """A UUID."""

    timestamp: int
    """Nanoseconds since the epoch."""

    action: Action
    target: Target
    request: Request = Request()
    actor: Actor = Actor()
    source: Source = Source()

    def document(self) -> dict[str, Any]:
        """As JSON has it: an element of an envelope's `events`."""
        return {
            "id": self.id,
            "timestamp": rfc3339_nano(self.timestamp),
            "action": self.action,
            "target": self.target.document(),
            "request": self.request.document(),
            "actor": self.actor.document(),
            "source": self.source.document(),
        }

    def encode(self) -> bytes:
        """The event as JSON in one line: what travels on NATS."""
        return json.dumps(self.document(), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: bytes) -> Event:
        """The event that `encode` made; raises InvalidEventError. Unknown fields are dropped."""
        try:
            fields = _Fields(json.loads(text))
            return cls(
                id=fields.text("id"),
                timestamp=parse_timestamp(fields.text("timestamp")),
                action=_action(fields.text("action")),
                target=_target(fields.object("target")),
                request=_request(fields.object("request")),
                actor=Actor(fields.object("actor").text("name")),
                source=_source(fields.object("source")),
            )
        except InvalidEventError:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidEventError(f"not an event: {error}") from error


def envelope(events: Iterable[Event]) -> bytes:
    """The body of a notification, byte for byte as distribution writes it: indented by three spaces."""
    document = {"events": [event.document() for event in events]}
    return _indented(document, "\n").translate(_GO_ESCAPES).encode()


def _indented(value: Any, newline: str) -> str:
    """What `json.dumps` says with an indentation of three, which it says in Python, generator by generator.

    `newline` is a line break and the indentation of the value.
    """
    if isinstance(value, str):
        return _quoted(value)
    if value and isinstance(value, dict | list):
        inner = f"{newline}   "
        if isinstance(value, list):
            return f"[{inner}{f',{inner}'.join([_indented(each, inner) for each in value])}{newline}]"
        pairs = [f"{_quoted(key)}: {_indented(each, inner)}" for key, each in value.items()]
        return f"{{{inner}{f',{inner}'.join(pairs)}{newline}}}"
    return json.dumps(value, ensure_ascii=False)


def _given(document: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something, as Go's `omitempty` has it."""
    return {key: value for key, value in document.items() if value}


class _Fields:
    """A JSON object that is read field by field; raises InvalidEventError for a field of another kind."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise InvalidEventError("not an object")
        self.document: dict[str, Any] = document

    def text(self, key: str) -> str:
        return str(self._get(key, str, ""))

    def number(self, key: str) -> int:
        return int(self._get(key, int, 0))

    def object(self, key: str) -> _Fields:
        return _Fields(self._get(key, dict, {}))

    def objects(self, key: str) -> list[_Fields]:
        return [_Fields(each) for each in self._get(key, list, [])]

    def _get(self, key: str, kind: type, absent: Any) -> Any:
        value = self.document.get(key, absent)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InvalidEventError(f"{key} is not what it should be")
        return value


def _action(text: str) -> Action:
    for action in ACTIONS:
        if text == action:
            return action
    raise InvalidEventError(f"not an action: {text[:40]!r}")


def _target(fields: _Fields) -> Target:
    return Target(
        repository=fields.text("repository"),
        media_type=fields.text("mediaType"),
        digest=fields.text("digest"),
        size=fields.number("size"),
        from_repository=fields.text("fromRepository"),
        url=fields.text("url"),
        tag=fields.text("tag"),
        references=tuple(map(_descriptor, fields.objects("references"))),
    )


def _descriptor(fields: _Fields) -> Descriptor:
    known = ("mediaType", "digest", "size")
    others = {key: value for key, value in fields.document.items() if key not in known}
    return Descriptor(fields.text("mediaType"), fields.text("digest"), fields.number("size"), others)


def _request(fields: _Fields) -> Request:
    return Request(
        id=fields.text("id"),
        addr=fields.text("addr"),
        host=fields.text("host"),
        method=fields.text("method"),
        user_agent=fields.text("useragent"),
    )


def _source(fields: _Fields) -> Source:
    return Source(fields.text("addr"), fields.text("instanceID"))
