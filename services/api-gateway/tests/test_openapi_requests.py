"""Requests made from the OpenAPI document, by Schemathesis: none of them is answered with a 5xx.

MOORAGE_EXAMPLES says how many there are for each operation.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error

from api_gateway.descriptors import TABLE
from api_gateway.openapi import openapi_document

EXAMPLES = int(os.environ.get("MOORAGE_EXAMPLES", "12"))

schema = schemathesis.openapi.from_dict(openapi_document(TABLE, title="Moorage", version="of this test"))


@pytest.fixture(scope="module")
def stored(registry) -> dict[str, str]:
    """What is there for requests to meet, by the name of the parameter."""
    repository = "fuzzed/app"
    registry.push_image(repository, "latest")
    return {
        "name": repository,
        "digest": registry.push_blob(repository, b"a blob"),
        "reference": "latest",
        "tag": "latest",
        "from": repository,
        "mount": registry.push_blob("fuzzed/other", b"another blob"),
    }


def meets(value: Any) -> bool:
    """Whether a parameter with this value is to be of something that is there: two of three."""
    return zlib.crc32(repr(value).encode()) % 3 > 0


@pytest.mark.parametrize(
    "operation",
    [result.ok() for result in schema.get_all_operations()],
    ids=lambda operation: operation.label,
)
def test_no_request_is_answered_with_a_server_error(operation, registry, stored: dict[str, str]) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        # Every run of the gate asks the same; a long one looks further.
        derandomize="MOORAGE_EXAMPLES" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        aim(case, registry, stored)
        response = case.call(base_url=registry.url, verify=verification(registry), timeout=30)
        case.validate_response(response, checks=[not_a_server_error])

    ask()


def aim(case: schemathesis.Case, registry, stored: dict[str, str]) -> None:
    """Have some of the parameters mean what is there: otherwise nearly every answer would be a 404."""
    for parameters in (case.path_parameters, case.query):
        for name, value in list((parameters or {}).items()):
            if name in stored and meets(value):
                parameters[name] = stored[name]
    if "uuid" in (case.path_parameters or {}) and meets(case.path_parameters["uuid"]):
        location = registry.start_upload(stored["name"]).headers["location"]
        path, _, query = location.removeprefix(registry.url).partition("?")
        case.path_parameters.update(name=stored["name"], uuid=path.rpartition("/")[2])
        case.query = {**(case.query or {}), "_state": query.removeprefix("_state=")}


def verification(registry) -> Any:
    return True if registry.certificates is None else str(registry.certificates.ca)
