"""A log line as a mail. Nothing that a client sent reaches a header, or a line of its own."""

from __future__ import annotations

from collections.abc import Mapping
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

# Characters of a subject, and of one field in the body, at most.
_SUBJECT = 200
_FIELD = 8000

_HEAD = ("time", "level", "event")


def mail_of(
    event: Mapping[str, Any], *, host: str, sender: str, recipients: tuple[str, ...], suppressed: int
) -> EmailMessage:
    """The mail about one line. `suppressed` is how many lines before it were not mailed.

    Source: RFC 5322; RFC 3834, section 5, for `Auto-Submitted`.
    """
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = one_line(f"[{event['level']}] {host}: {event['event']}")[:_SUBJECT]
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=one_line(host).replace(" ", "-") or "localhost")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_body(event, suppressed)) + "\n", charset="utf-8")
    return message


def one_line(text: str) -> str:
    """A text without line breaks and other characters that do something."""
    return "".join(each if each.isprintable() else " " for each in text)


def _body(event: Mapping[str, Any], suppressed: int) -> list[str]:
    lines = [one_line(str(event["event"]))[:_FIELD], ""]
    lines.append(f"time: {event['time']}")
    lines.append(f"level: {event['level']}")
    exception = event.get("exception")
    for name, value in sorted(event.items()):
        if name not in _HEAD and name != "exception":
            lines.append(f"{one_line(name)}: {one_line(str(value))[:_FIELD]}")
    if exception:
        # Indented, so that no line of it looks like a field.
        lines += ["", "exception:", *(f"  {one_line(line)}" for line in str(exception).splitlines())]
    if suppressed:
        lines += ["", f"{suppressed} lines before this one were not mailed: there were too many."]
    return lines
