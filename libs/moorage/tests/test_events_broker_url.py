from __future__ import annotations

import pytest

from moorage.events.broker_url import BrokerURL


def test_a_url_shows_no_credentials() -> None:
    url = BrokerURL.parse("nats://moorage:s3cret@broker:4333")
    assert str(url) == "nats://broker:4333"
    assert "s3cret" not in repr(url)
    assert "moorage" not in repr(url)


def test_credentials_are_percent_decoded() -> None:
    url = BrokerURL.parse("nats://a%40b:p%2Fq@broker")
    assert (url.user, url.password, url.port) == ("a@b", "p/q", 4222)


def test_a_user_without_a_password_is_a_token() -> None:
    url = BrokerURL.parse("tls://t0ken@[::1]:4222")
    assert (url.user, url.password, url.token) == (None, None, "t0ken")
    assert str(url) == "tls://[::1]:4222"
    assert url.needs_tls


@pytest.mark.parametrize("text", ["http://broker:4222", "nats://", "broker:4222", "nats://broker:99999"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  urllib words the port's error
        BrokerURL.parse(text)
