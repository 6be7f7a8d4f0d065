"""Real SMTP servers on loopback for the tests of the mail hook."""

from __future__ import annotations

import asyncio
import email
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from queue import Queue
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

PASSWORD = "s3cret-of-the-mail-user"


class Mailbox:
    """What a server took: messages, and who logged in. It keeps connections for `linger` s after QUIT."""

    def __init__(self, linger: float = 0.0) -> None:
        self._linger = linger
        self.messages: Queue[EmailMessage] = Queue()
        self.envelopes: list[Envelope] = []
        self.logins: list[tuple[str, str]] = []
        self.encrypted: list[bool] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        self.encrypted.append(session.ssl is not None)
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.messages.put(message)
        return "250 taken"

    async def handle_QUIT(self, server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
        if self._linger:
            await server.push("221 Bye")
            await asyncio.sleep(self._linger)
        return "221 Bye"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        login = data.login.decode(), data.password.decode()
        self.logins.append(login)
        return AuthResult(success=login == ("reporter", PASSWORD), handled=False)

    def next(self, timeout: float = 20) -> EmailMessage:
        return self.messages.get(timeout=timeout)


class _ImplicitTLS(Controller):
    """Controller's own check that it listens speaks no TLS."""

    def _trigger_server(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((self.hostname, self.port), 5)
        with context.wrap_socket(plain) as connection:
            connection.recv(1024)


@contextmanager
def smtp_server(
    port: int,
    *,
    auth: bool = False,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    linger: float = 0.0,
) -> Iterator[Mailbox]:
    """A server that takes mail while the context is open."""
    mailbox = Mailbox(linger)
    settings: dict[str, Any] = {"hostname": "127.0.0.1", "port": port}
    if auth:
        settings |= {
            "authenticator": mailbox.authenticate,
            "auth_required": True,
            "auth_require_tls": False,
        }
    if starttls is not None:
        settings |= {"tls_context": starttls}
    kind = _ImplicitTLS if implicit is not None else Controller
    if implicit is not None:
        settings |= {"ssl_context": implicit}
    controller = kind(mailbox, **settings)
    with warnings.catch_warnings():
        # With each connection it warns of a login without TLS, which is what a test wants.
        warnings.simplefilter("ignore", UserWarning)
        controller.start()
        try:
            yield mailbox
        finally:
            controller.stop(no_assert=True)


@contextmanager
def tarpit(port: int) -> Iterator[list[socket.socket]]:
    """A server that takes connections and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()
