"""A registry that is its own token service, and what clients do with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.accounts import write_accounts

PASSWORDS = {"ada": "lovelace's", "grace": "hopper: with a colon", "ci": "robot", "ünal": "größe"}
GROUPS = {"developers": ["ada", "grace"]}
RULES = [
    {"subjects": ["anonymous"], "repositories": ["public/**"], "actions": ["pull"]},
    {
        "subjects": ["authenticated"],
        "repositories": ["home/${user}/**"],
        "actions": ["pull", "push", "delete"],
    },
    {"subjects": ["group:developers"], "repositories": ["team/**"], "actions": ["pull", "push", "catalog"]},
    {"subjects": ["user:ci"], "repositories": ["release/**"], "actions": ["pull", "create"]},
    {"subjects": ["user:grace"], "repositories": ["**"], "actions": ["pull", "push", "delete", "catalog"]},
]


class Client:
    """Asks a registry for tokens, and shows them to it."""

    def __init__(self, http: httpx.Client, path: str = "/token") -> None:
        self.http = http
        self.path = path

    def ask(self, user: str = "", *scopes: str, password: str | None = None, **query: str) -> httpx.Response:
        """GET a token, with the user's password if there is a user."""
        auth = None
        if user:
            pair = f"{user}:{PASSWORDS[user] if password is None else password}".encode()
            auth = httpx.BasicAuth(*pair.split(b":", 1))
        parameters = [("scope", scope) for scope in scopes] + list(query.items())
        return self.http.get(self.path, params=parameters, auth=auth)

    def post(self, **form: str) -> httpx.Response:
        return self.http.post(self.path, data={"client_id": "test", **form})

    def token(self, user: str = "", *scopes: str) -> str:
        answer = self.ask(user, *scopes)
        assert answer.status_code == 200, answer.text
        return answer.json()["token"]

    def bearer(self, user: str = "", *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, *scopes)}"}


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_accounts(tmp_path_factory.mktemp("accounts") / "htpasswd", PASSWORDS)


@pytest.fixture(scope="module")
def server_settings(accounts: Path) -> dict[str, Any]:
    """`auth.token.server` of this module's registry."""
    return {
        "htpasswd": str(accounts),
        "key": str(accounts.with_name("token.pem")),
        "groups": GROUPS,
        "rules": RULES,
        # Tests fail on purpose, all from one address.
        "failures": {"burst": 1000},
    }


@pytest.fixture(scope="module")
def registry(start_registry: Callable[..., Any], server_settings: dict[str, Any]) -> Any:
    return start_registry(auth={"token": {"server": server_settings}})


@pytest.fixture
def client(registry: Any) -> Client:
    return Client(registry.client)
