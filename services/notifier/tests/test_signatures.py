"""Signatures, against values that others computed, and as the documentation has a subscriber check them."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any

import pytest

from moorage.config.endpoints import Endpoint, signing_key
from notifier.signatures import signed_headers

PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"
SECRETS = ["whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]


def keys(*secrets: str) -> list[bytes]:
    endpoint = Endpoint.model_validate({"name": "a", "url": "https://a.example/", "secrets": list(secrets)})
    return [signing_key(secret) for secret in endpoint.secrets]


# The values that the specification's own libraries are tested with.
VECTOR = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    1614265330,
    b'{"test": 2432232314}',
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
)


def test_a_signature_is_the_one_that_the_specification_s_libraries_expect() -> None:
    secret, message_id, timestamp, body, signature = VECTOR
    assert signed_headers(keys(secret), message_id, timestamp, body) == {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


@pytest.fixture(scope="module")
def verified() -> Any:
    """The function of the page."""
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["verified"]


def test_the_page_s_subscriber_accepts_what_is_signed_with_either_secret(verified) -> None:
    headers = signed_headers(keys(*SECRETS), "an-id", int(time.time()), b"{}")
    assert verified(SECRETS[0], headers, b"{}")
    assert verified(SECRETS[1], headers, b"{}")


def test_the_page_s_subscriber_refuses_everything_else(verified) -> None:
    now = int(time.time())
    headers = signed_headers(keys(SECRETS[0]), "an-id", now, b"{}")
    assert not verified(SECRETS[1], headers, b"{}")
    assert not verified(SECRETS[0], headers, b"{ }")
    assert not verified(SECRETS[0], {**headers, "webhook-id": "another"}, b"{}")
    assert not verified(SECRETS[0], {**headers, "webhook-timestamp": str(now - 1)}, b"{}")
    old = signed_headers(keys(SECRETS[0]), "an-id", now - 600, b"{}")
    assert not verified(SECRETS[0], old, b"{}")


@pytest.mark.parametrize(
    "secret", ["whsec_c2hvcnQ=", "a-word", "whsec_%%%", "whsec_" + base64.b64encode(bytes(65)).decode()],
    ids=["short", "no-prefix", "no-base64", "long"],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        keys(secret)
    assert secret not in str(caught.value.errors(include_input=False))
