"""A token server: it issues the tokens that `auth.token` believes, directly or over HTTP to real clients.

Source: distribution's docs/spec/auth/token.md and jwt.md.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def public_jwk(key: PrivateKey, **members: str) -> dict[str, Any]:
    """The public part of a key as a JWK."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return {**RSAAlgorithm.to_jwk(public, as_dict=True), **members}
    if isinstance(public, ec.EllipticCurvePublicKey):
        return {**ECAlgorithm.to_jwk(public, as_dict=True), **members}
    return {**OKPAlgorithm.to_jwk(public, as_dict=True), **members}


def access_entry(scope: str) -> dict[str, Any]:
    """`repository:team/app:pull,push` as an entry of a token's `access`."""
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(
        self,
        key: PrivateKey | None = None,
        *,
        algorithm: str = "ES256",
        key_id: str = "key-1",
        certificate: str = "",
    ) -> None:
        """`certificate` is the key's in PEM, for who asks for the file of `auth.token.rootcertbundle`."""
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.algorithm = algorithm
        self.key_id = key_id
        self.certificate = certificate
        self.name = "https://tokens.example"
        self.service = "registry.example"

    def jwks(self) -> str:
        """The file of `auth.token.jwks`."""
        return json.dumps({"keys": [public_jwk(self.key, kid=self.key_id, use="sig")]})

    def auth(self, jwks: Path) -> dict[str, Any]:
        """`auth` of a registry that believes this issuer, by a file of its keys that is written here."""
        jwks.write_text(self.jwks())
        token = {"realm": "https://t.example", "service": self.service, "issuer": self.name}
        return {"token": {**token, "jwks": str(jwks)}}

    def claims(self, *access: str, **changes: Any) -> dict[str, Any]:
        """The claims of a good token with these scopes; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": "ann",
            "aud": self.service,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now - 10,
            "jti": uuid.uuid4().hex,
            "access": [access_entry(scope) for scope in access],
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: Mapping[str, Any], *, key: Any = None, algorithm: str = "", **headers: Any) -> str:
        """A token of these claims; a header that is None is left out."""
        headers = {"kid": self.key_id, **headers}
        named = {name: value for name, value in headers.items() if value is not None}
        # PyJWT's `encode` refuses claims that a test means to be wrong.
        payload = json.dumps(claims).encode()
        return jwt.PyJWS().encode(payload, key or self.key, algorithm or self.algorithm, headers=named)

    def token(self, *access: str, **changes: Any) -> str:
        """A good token with these scopes, but for the changes to its claims."""
        return self.sign(self.claims(*access, **changes))

    def bearer(self, *access: str, **changes: Any) -> dict[str, str]:
        """The Authorization field with such a token."""
        return {"Authorization": f"Bearer {self.token(*access, **changes)}"}


class TokenServer:
    """The HTTP interface of an issuer: users with passwords, and the scopes that each may have.

    What a user asks beyond that is left out of the token, as the specification has it.
    """

    def __init__(self, issuer: Issuer, users: Mapping[str, str], grants: Mapping[str, set[str]]) -> None:
        """`grants` has `type:name:action`s for each user, and for "" those of everybody."""
        self.issuer = issuer
        self.users = users
        self.grants = grants
        self.asked: list[dict[str, list[str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                server.asked.append(query)
                user = server.user(self.headers.get("Authorization", ""))
                if user is None:
                    self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
                else:
                    self._answer(200, server.answer(user, query.get("scope", [])))

            def do_POST(self) -> None:
                # Clients try OAuth2 first, and then GET.
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self._answer(404, {})

            def _answer(self, status: int, body: Any) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler

    def user(self, authorization: str) -> str | None:
        """Who it is; "" for nobody in particular, None for a wrong password."""
        if not authorization:
            return ""
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return user if self.users.get(user) == password else None

    def answer(self, user: str, scopes: list[str]) -> dict[str, Any]:
        allowed = self.grants.get(user, set()) | self.grants.get("", set())
        access = []
        for scope in " ".join(scopes).split():
            entry = access_entry(scope)
            prefix = f"{entry['type']}:{entry['name']}:"
            entry["actions"] = [action for action in entry["actions"] if prefix + action in allowed]
            if entry["actions"]:
                access.append(entry)
        token = self.issuer.sign(self.issuer.claims(sub=user, access=access))
        return {"token": token, "access_token": token, "expires_in": 300}

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        thread = threading.Thread(target=self._server.serve_forever, name="token server")
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
