"""`moorage events`: what happens, who is told, what they could not be told, and telling them once more.

The commands talk to the broker of the registry: the one in `services.nats.url`, or else that of the `moorage
up` that runs on this data folder, or else the default of `services.nats.url`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.failures import FAILURE, USAGE, complain, failures
from moorage.cli.options import AsJSON, ConfigPath, print_json, set_up_logging
from moorage.config import Configuration, data_dir, load, parse_duration

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from moorage.events import Event
    from notifier.endpoints import EndpointState
    from notifier.replays import DeadLetter, Replay

Work = Callable[["JetStreamContext", Configuration], Coroutine[Any, Any, None]]

app = typer.Typer(
    name="events",
    help="Follow registry events, and look after the endpoints that are told of them.",
    no_args_is_help=True,
    add_completion=False,
)


def _time(text: str) -> float:
    """Seconds since the epoch, of a time or of how long ago it is."""
    from moorage.events.timestamp import parse_timestamp

    try:
        return parse_timestamp(text) / 1e9
    except ValueError:
        pass
    try:
        ago = parse_duration(text)
    except ValueError:
        raise typer.BadParameter(f"neither a duration nor an RFC 3339 time: {text!r}") from None
    if ago < 0:
        raise typer.BadParameter(f"must not be negative: {text!r}")
    return time.time() - ago


def _action(text: str) -> str:
    from moorage.events.event import ACTIONS

    if text not in ACTIONS:
        raise typer.BadParameter(f"no action {text!r}; there are {', '.join(ACTIONS)}")
    return text


def _glob(text: str) -> str:
    from moorage.globs import InvalidGlobError, parse_glob

    try:
        return parse_glob(text)
    except InvalidGlobError as error:
        raise typer.BadParameter(str(error)) from error


Since = Annotated[
    float | None,
    typer.Option(
        metavar="TIME",
        parser=_time,
        help="From then on: 2h (ago), or 2026-01-31T12:00:00Z.",
        show_default=False,
    ),
]
OneEndpoint = Annotated[
    str | None, typer.Option("--endpoint", "-e", metavar="NAME", help="Of this endpoint.", show_default=False)
]
JSONLines = Annotated[bool, typer.Option("--json", help="Print a JSON document a line.")]


@app.command()
def tail(
    config_path: ConfigPath = None,
    since: Since = None,
    action: Annotated[
        str | None,
        typer.Option(
            metavar="ACTION", parser=_action, help="Only push, pull, mount or delete.", show_default=False
        ),
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB", parser=_glob, help="Only of such repositories: 'team/*'.", show_default=False
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Go on with what happens, until stopped.")] = True,
    as_json: JSONLines = False,
) -> None:
    """Print events as they happen.

    With --since, those that have happened since then first; with --no-follow, only those.
    """

    async def work(jetstream: JetStreamContext, _: Configuration) -> None:
        from moorage.events import Event, InvalidEventError
        from moorage.events.subjects import STREAM, SUBJECTS
        from moorage.globs import matches
        from notifier.reading import read

        subject = SUBJECTS if action is None else SUBJECTS.replace(">", f"{action}.>")
        existing = since is not None or not follow
        async for message in read(jetstream, STREAM, subject, since=since, existing=existing, follow=follow):
            try:
                event = Event.decode(message.data)
            except InvalidEventError as error:
                complain(f"message {message.metadata.sequence.stream} of the stream: {error}")
                continue
            if repository is None or matches(repository, event.target.repository):
                _say_event(event, as_json=as_json)

    _run(config_path, work)


@app.command()
def endpoints(config_path: ConfigPath = None, as_json: AsJSON = False) -> None:
    """List the endpoints: what state they are in, and how many events they do not have yet."""

    async def work(jetstream: JetStreamContext, config: Configuration) -> None:
        from notifier.endpoints import endpoint_states

        states = await endpoint_states(jetstream, config.notifications.endpoints)
        if as_json:
            print_json([dataclasses.asdict(state) for state in states])
            return
        head = ("NAME", "STATE", "PENDING", "REPLAYS", "DEAD LETTERS", "URL", "")
        rows = [head, *(_endpoint_row(state) for state in states)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            _say("  ".join([*cells, row[-1]]).rstrip())

    _run(config_path, work)


@app.command(name="dead-letters")
def list_dead_letters(
    config_path: ConfigPath = None,
    endpoint: OneEndpoint = None,
    since: Since = None,
    as_json: JSONLines = False,
) -> None:
    """List events that an endpoint could not be told: when they were given up, and why."""

    async def work(jetstream: JetStreamContext, _: Configuration) -> None:
        from notifier.replays import dead_letters

        async for letter in dead_letters(jetstream, endpoint=endpoint, since=since):
            _say(json.dumps(_letter_document(letter)) if as_json else _letter_line(letter))

    _run(config_path, work)


@app.command()
def replay(
    config_path: ConfigPath = None,
    endpoint: OneEndpoint = None,
    since: Since = None,
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only this event.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Only say what would be told.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the summary alone.")] = False,
    as_json: JSONLines = False,
) -> None:
    """Tell an endpoint events once more.

    Without --since, its dead letters, which are then no longer dead: those of --endpoint, or the one with
    --id. With --since and --endpoint, everything that the stream holds from then on. Other endpoints hear
    nothing of it. The notifier delivers as it does otherwise: `moorage events endpoints` shows what is left.
    """
    if since is not None and endpoint is None:
        raise typer.BadParameter(
            "which endpoint is to be told? Name it with --endpoint.", param_hint="--since"
        )
    if endpoint is None and event_id is None:
        raise typer.BadParameter("say what to tell: --endpoint, --id, or --endpoint and --since.")

    async def work(jetstream: JetStreamContext, config: Configuration) -> None:
        from notifier.replays import Replay, ReplayError

        consumer = None if endpoint is None else await _consumer(jetstream, config, endpoint)
        told = 0
        once_more = Replay(jetstream)
        try:
            if since is not None and consumer is not None:
                events = _events_again(jetstream, once_more, consumer, since, event_id, dry_run=dry_run)
            else:
                events = _dead_letters_again(jetstream, once_more, endpoint, event_id, dry_run=dry_run)
            async for event in events:
                told += 1
                if not quiet:
                    _say_event(event, as_json=as_json)
        except ReplayError as error:
            complain(f"{error}; {told} events before it are replayed")
            raise typer.Exit(FAILURE) from error
        if event_id is not None and not told:
            complain(f"no {'dead letter' if since is None else 'event'} {event_id!r} there")
            raise typer.Exit(FAILURE)
        if as_json:
            _say(json.dumps({"summary": {"events": told, "dryrun": dry_run}}))
        else:
            _say(f"{told} events {'would be' if dry_run else 'are being'} told once more")

    _run(config_path, work)


async def _events_again(
    jetstream: JetStreamContext,
    replay: Replay,
    consumer: str,
    since: float,
    event_id: str | None,
    *,
    dry_run: bool,
) -> AsyncIterator[Event]:
    from notifier.replays import events

    # Not what happens from now on: the endpoint is told of that anyway.
    async for sequence, event in events(jetstream, since=since, until=time.time()):
        if event_id in (None, event.id):
            if not dry_run:
                await replay.event(consumer, sequence, event)
            yield event


async def _dead_letters_again(
    jetstream: JetStreamContext, replay: Replay, endpoint: str | None, event_id: str | None, *, dry_run: bool
) -> AsyncIterator[Event]:
    from notifier.replays import dead_letters

    until = time.time()
    async for letter in dead_letters(jetstream, endpoint=endpoint):
        if letter.buried > until:
            return  # it died again meanwhile
        if letter.event is None:
            if event_id is None:
                complain(f"dead letter {letter.sequence} stays: it is not an event")
            continue
        if event_id in (None, letter.event.id):
            if not dry_run:
                await replay.dead_letter(letter)
            yield letter.event


async def _consumer(jetstream: JetStreamContext, config: Configuration, endpoint: str) -> str:
    """The consumer of an endpoint; ends the command when nobody would ever be told."""
    from notifier.endpoints import endpoint_states

    states = await endpoint_states(jetstream, config.notifications.endpoints)
    for state in states:
        if state.name == endpoint:
            if state.state in ("waiting", "disabled"):
                complain(
                    f"no notifier delivers to {endpoint!r} now ({state.state}); it is told when one does"
                )
            return state.consumer
    known = ", ".join(repr(state.name) for state in states) or "none"
    complain(f"there is no endpoint {endpoint!r}; there are: {known}")
    raise typer.Exit(USAGE)


def _run(config_path: Path | None, work: Work) -> None:
    """Do the work on a connection to the broker, until it ends or a signal says to stop."""
    with failures():
        config = load(config_path, os.environ)
        set_up_logging(config, "events")
        asyncio.run(_until_stopped(_work(config, work)))


async def _work(config: Configuration, work: Work) -> None:
    import nats.errors
    from nats.js.errors import APIError

    try:
        async with _broker(config, os.environ) as jetstream:
            await work(jetstream, config)
    except (nats.errors.Error, APIError) as error:
        reason = getattr(error, "description", None) or str(error) or type(error).__name__
        raise ConnectionError(f"the broker failed: {reason}") from error


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise


@asynccontextmanager
async def _broker(config: Configuration, environ: Mapping[str, str]) -> AsyncIterator[JetStreamContext]:
    """A connection to the broker of the registry; raises OSError."""
    from moorage.events.broker import connected
    from moorage.events.broker_url import BrokerURL
    from moorage.supervisor.broker import running_broker
    from moorage.supervisor.folders import runtime_folder

    url, hint = config.services.nats.url, ""
    if "url" not in config.services.nats.model_fields_set:
        folder = data_dir(environ)
        runtime = runtime_folder(folder)
        running = None if runtime is None else running_broker(runtime)
        if running is None:
            hint = f"; services.nats.url is not set, and no 'moorage up' runs with its data in {folder}"
        url = running or url
    async with AsyncExitStack() as stack:
        try:
            jetstream = await stack.enter_async_context(connected(BrokerURL.parse(url), "events"))
        except ConnectionError as error:
            raise ConnectionError(f"{error}{hint}") from error
        yield jetstream


def _say(line: str) -> None:
    """Print a line at once, whoever reads it; ends the command when nobody does any more."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None


def _say_event(event: Event, *, as_json: bool) -> None:
    _say(json.dumps(event.document(), ensure_ascii=False) if as_json else _event_line(event))


def _event_line(event: Event) -> str:
    from moorage.events.timestamp import rfc3339_nano

    who = f"by {event.actor.name} " if event.actor.name else ""
    size = f" {event.target.size} bytes" if event.target.size else ""
    where = f"from {event.request.addr}" if event.request.addr else ""
    time_ = rfc3339_nano(event.timestamp // 1_000_000 * 1_000_000)
    return _printable(f"{time_:<24} {event.action:<6} {_what(event)}{size} {who}{where} id={event.id}")


def _what(event: Event) -> str:
    """What an event is about, as a reference."""
    target = event.target
    tag = f":{target.tag}" if target.tag else ""
    digest = f"@{target.digest}" if target.digest else ""
    return f"{target.repository}{tag}{digest}"


def _endpoint_row(state: EndpointState) -> tuple[str, ...]:
    trouble = f"{state.failures} failures: {state.reason}" if state.failures else ""
    numbers = map(str, (state.pending, state.replays, state.dead_letters))
    return (_printable(state.name), state.state, *numbers, _printable(state.url), _printable(trouble))


def _letter_line(letter: DeadLetter) -> str:
    from moorage.events.timestamp import rfc3339_nano

    what = "not an event"
    if letter.event is not None:
        what = f"{letter.event.action} {_what(letter.event)} id={letter.event.id}"
    time_ = rfc3339_nano(int(letter.buried * 1000) * 1_000_000)
    return _printable(f"{time_:<24} {letter.endpoint}: {letter.reason} ({letter.attempts} attempts): {what}")


def _letter_document(letter: DeadLetter) -> dict[str, Any]:
    from moorage.events.timestamp import rfc3339_nano

    return {
        "sequence": letter.sequence,
        "endpoint": letter.endpoint,
        "given_up": rfc3339_nano(int(letter.buried * 1e6) * 1000),
        "stored": rfc3339_nano(int(letter.stored * 1e3) * 1_000_000),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "event": None if letter.event is None else letter.event.document(),
    }


def _printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)
