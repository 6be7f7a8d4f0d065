"""Where the broker is, and the credentials that never leave this object by way of a log."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from moorage.config import join_host_port

DEFAULT_PORT = 4222


@dataclass(frozen=True, slots=True)
class BrokerURL:
    """A parsed `services.nats.url`. `str()` and `repr()` show no credentials.

    A user without a password is a token, as in every NATS client.
    """

    scheme: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerURL:
        """Parse `nats://` or `tls://`, `[user:password@ or token@]host[:port]`.

        Raises ValueError, whose text does not repeat the URL.
        """
        parts = urlsplit(text)
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError("not a nats:// or tls:// URL")
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=parts.port or DEFAULT_PORT,
            user=user if password is not None else None,
            password=password,
            token=user if password is None else None,
        )

    @property
    def needs_tls(self) -> bool:
        """Whether the connection must be encrypted before anything secret is sent."""
        return self.scheme == "tls"

    def __str__(self) -> str:
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"
