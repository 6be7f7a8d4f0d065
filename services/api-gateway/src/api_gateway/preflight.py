"""What a configuration names and has to be usable, tried before anything listens."""

from __future__ import annotations

from api_gateway.access.build import check_access_control
from api_gateway.tls import ListenerTLS
from api_gateway.tokens.build import check_token_serving
from moorage.config import Configuration
from moorage.rpc import Security


def check_usable(config: Configuration) -> None:
    """Try the files of access control, of the token service and of TLS; raises ConfigurationError."""
    check_access_control(config)
    check_token_serving(config)
    ListenerTLS.of(config.http.tls)
    Security.of(config, "gateway")
