"""What is told of decisions, and what becomes of a controller's fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from api_gateway.access import AccessRecord, ChallengeError, Grant
from api_gateway.access.observed import Observed
from moorage.errors import ErrorCode, RegistryError

PULL = AccessRecord("repository", "team/app", "pull")


class Answering:
    """A controller that answers as it is told."""

    def __init__(self, answer: Grant | BaseException | None) -> None:
        self.answer = answer

    async def authorize(self, request: Any, records: Sequence[AccessRecord]) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def counted(kind: str) -> dict[str, float]:
    names = ("granted", "challenged", "denied", "error")
    name = "moorage_gateway_access_decisions_total"
    return {
        outcome: value
        for outcome in names
        if (value := REGISTRY.get_sample_value(name, {"controller": kind, "outcome": outcome}))
    }


@pytest.mark.parametrize(
    ("answer", "outcome", "logged"),
    [
        (Grant("ann"), "granted", []),
        (ChallengeError("Basic", [PULL]), "challenged", []),
        (ChallengeError("Basic", [PULL], "expired"), "denied", ["expired"]),
        (RegistryError(ErrorCode.DENIED), "denied", ["DENIED: requested access to the resource is denied"]),
        (RegistryError(ErrorCode.UNAVAILABLE), "error", ["UNAVAILABLE: service unavailable"]),
    ],
)
async def test_a_decision_is_counted_and_a_refusal_logged(
    request_with: Any, answer: Any, outcome: str, logged: list[str]
) -> None:
    kind = f"kind {outcome} {logged}"
    controller = Observed(Answering(answer), kind)
    with structlog.testing.capture_logs() as lines:
        if isinstance(answer, Grant):
            assert await controller.authorize(request_with(), [PULL]) is answer
        else:
            with pytest.raises(type(answer)) as caught:
                await controller.authorize(request_with(), [PULL])
            assert caught.value is answer
    assert counted(kind) == {outcome: 1}
    assert [line["reason"] for line in lines] == logged
    for line in lines:
        assert line["access"] == "repository:team/app:pull"
        assert line["http.request.remoteaddr"] == "192.0.2.1"


@pytest.mark.parametrize("answer", [ValueError("a secret"), None])
async def test_a_controllers_fault_lets_nobody_in(request_with: Any, answer: Any) -> None:
    kind = f"faulty {answer!r}"
    controller = Observed(Answering(answer), kind)
    with structlog.testing.capture_logs() as lines, pytest.raises(RegistryError) as caught:
        await controller.authorize(request_with(), [PULL])
    assert (caught.value.http_status, caught.value.code) == (500, ErrorCode.UNKNOWN)
    assert b"secret" not in caught.value.envelope()
    assert counted(kind) == {"error": 1}
    assert lines[0]["log_level"] == "error"
