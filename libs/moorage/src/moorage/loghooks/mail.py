"""`log.hooks` of type `mail`: a mail for each line of some levels.

A thread with an event loop of its own sends them, one at a time: whoever writes a line waits for nothing,
and a mail server that is slow or away holds up no request. There is a bound on everything: the lines that
wait, the mails in a minute, the seconds for one mail. What falls beyond is counted, and the next mail says
how much.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import structlog
from prometheus_client import Counter

from moorage.config.errors import ConfigurationError
from moorage.config.log import MailOptions
from moorage.config.values import is_loopback, split_host_port
from moorage.loghooks.interface import HOOK_KEY
from moorage.loghooks.message import mail_of

log = structlog.get_logger("moorage.loghooks")

# Lines that wait for the thread, at most.
_MOST_WAITING = 100

_MINUTE = 60.0

MAILS = Counter(
    "moorage_log_mails_total",
    "Lines for the mail hook: sent, failed, or suppressed, being too many.",
    ["result"],
)


class MailError(Exception):
    """A mail that must not be sent as things are."""


class _Client(aiosmtplib.SMTP):
    """A client whose connection is gone once it is closed.

    It would wait for the server's end of TLS, and the event loop ends with the mail.
    """

    def close(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        super().close()


class MailHook:
    """Sends a mail for each line of its levels. `key` is where its options stand in the configuration.

    Raises ConfigurationError when a file with certificates cannot be used.
    """

    def __init__(
        self, options: MailOptions, levels: frozenset[str], *, key: str, clock: Any = time.monotonic
    ) -> None:
        self._options = options
        self._levels = levels
        self._clock = clock
        self._tls = _tls_context(options, key)
        self._host = socket.gethostname()
        self._waiting: queue.Queue[EmailMessage | None] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._accepted: deque[float] = deque()
        self._suppressed = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one line: a mail of it is on its way, or it is counted as suppressed."""
        if event["level"] not in self._levels or threading.current_thread() is self._thread:
            return
        with self._lock:
            if self._closed:
                return
            if not self._has_room():
                self._suppressed += 1
                MAILS.labels("suppressed").inc()
                return
            suppressed, self._suppressed = self._suppressed, 0
            self._waiting.put_nowait(self._mail(event, suppressed))
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="log mails", daemon=True)
                self._thread.start()

    def close(self, seconds: float) -> None:
        """Send what waits, for so many seconds at most."""
        with self._lock:
            self._closed = True
            thread, suppressed = self._thread, self._suppressed
        if suppressed:
            log.warning("lines were not mailed: there were too many", lines=suppressed, **{HOOK_KEY: "mail"})
        if thread is None:
            return
        deadline = time.monotonic() + seconds
        try:
            self._waiting.put(None, timeout=max(seconds, 0.001))
        except queue.Full:
            # The thread is busy with a server that takes nothing; it ends with the process.
            log.warning("lines were not mailed in time", lines=self._waiting.qsize(), **{HOOK_KEY: "mail"})
            return
        thread.join(max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():
            left = max(self._waiting.qsize() - 1, 0) + 1
            log.warning("lines were not mailed in time", lines=left, **{HOOK_KEY: "mail"})

    def _has_room(self) -> bool:
        now = self._clock()
        while self._accepted and now - self._accepted[0] >= _MINUTE:
            self._accepted.popleft()
        if len(self._accepted) >= self._options.rate or self._waiting.full():
            return False
        self._accepted.append(now)
        return True

    def _mail(self, event: Mapping[str, Any], suppressed: int) -> EmailMessage:
        options = self._options
        return mail_of(
            event, host=self._host, sender=options.sender, recipients=options.to, suppressed=suppressed
        )

    def _send_all(self) -> None:
        while (message := self._waiting.get()) is not None:
            try:
                asyncio.run(self._send(message))
            except (aiosmtplib.SMTPException, MailError, OSError, TimeoutError, ValueError) as error:
                MAILS.labels("failed").inc()
                reason = str(error) or type(error).__name__
                log.warning("a log line could not be mailed", error=reason, **{HOOK_KEY: "mail"})
            except Exception:
                # The thread must go on: the next mail may be about why this one broke.
                MAILS.labels("failed").inc()
                log.exception("a log line could not be mailed", **{HOOK_KEY: "mail"})
            else:
                MAILS.labels("sent").inc()

    async def _send(self, message: EmailMessage) -> None:
        options = self._options
        smtp = options.smtp
        host, port = split_host_port(smtp.addr or "")
        client = _Client(
            hostname=host or "localhost",
            port=port,
            use_tls=smtp.mode == "implicit",
            start_tls={"starttls": True, "none": False, "implicit": False}.get(smtp.mode),
            tls_context=self._tls,
            timeout=options.timeout,
        )
        # The deadline of the whole, where the client's own is for each step.
        async with asyncio.timeout(options.timeout):
            try:
                await client.connect()
                if smtp.username:
                    if not (
                        smtp.insecure
                        or client.get_transport_info("sslcontext")
                        or not host
                        or is_loopback(host)
                    ):
                        raise MailError(
                            "the server offers no TLS, and credentials go to no server without it"
                        )
                    password = smtp.password.get_secret_value() if smtp.password is not None else ""
                    await client.login(smtp.username, password)
                await client.send_message(message, sender=options.sender, recipients=list(options.to))
                await client.quit()
            finally:
                client.close()


def _tls_context(options: MailOptions, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for position, path in enumerate(options.smtp.rootcas):
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "no certificates"
            raise ConfigurationError(f"{key}.smtp.rootcas[{position}]", f"{path}: {reason}") from error
    if options.smtp.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
