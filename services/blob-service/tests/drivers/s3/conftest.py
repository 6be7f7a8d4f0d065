"""A place of the test's own in a bucket of the run's RADOS Gateway, and S3 drivers on it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.s3.driver import S3Driver
from blob_service.drivers.s3.settings import Settings
from support.ceph import S3Access
from support.s3 import TestBucket

MIB = 1 << 20

MakeDriver = Callable[..., S3Driver]


class Requests:
    """The requests that a driver makes from now on, and how some of them fail."""

    def __init__(self, client: Any) -> None:
        # Operation, and header fields by their names in lower case.
        self.made: list[tuple[str, dict[str, str]]] = []
        self._lost: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        client.meta.events.register("before-send.s3", self._before_send)
        client.meta.events.register("response-received.s3", self._response_received)

    def names(self) -> list[str]:
        return [operation for operation, _ in self.made]

    def headers(self, operation: str) -> dict[str, str]:
        """Those of the operation's first request."""
        return next(headers for name, headers in self.made if name == operation)

    def lose_the_answer(self, operation: str, times: int = 1) -> None:
        """The endpoint does what it is asked, and the connection breaks before the answer comes."""
        self._lost[operation] = times

    def break_the_connection(self, operation: str, times: int = 1) -> None:
        """The connection breaks before the endpoint has got anything."""
        self._refused[operation] = times

    def _before_send(self, event_name: str, request: Any, **_: Any) -> None:
        operation = event_name.rpartition(".")[2]
        headers = {
            key.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for key, value in request.headers.items()
        }
        self.made.append((operation, headers | {"url": request.url}))
        self._count_down(self._refused, operation, request.url)

    def _response_received(self, event_name: str, **_: Any) -> None:
        operation = event_name.rpartition(".")[2]
        self._count_down(self._lost, operation, "http://the.endpoint")

    @staticmethod
    def _count_down(left: dict[str, int], operation: str, url: str) -> None:
        if left.get(operation):
            left[operation] -= 1
            raise ConnectionClosedError(endpoint_url=url)


@pytest.fixture(scope="session")
def bucket(s3: S3Access) -> TestBucket:
    return TestBucket(s3, "s3-driver-tests").create()


@pytest.fixture
def root() -> str:
    """What the keys of the test begin with."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def make_driver(bucket: TestBucket, root: str) -> AsyncIterator[MakeDriver]:
    """Makes drivers on one root directory, as processes that share a bucket have them.

    What the test leaves there is removed after it, multipart uploads included.
    """
    made: list[S3Driver] = []

    def make(**more: Any) -> S3Driver:
        parameters = {"chunksize": 5 * MIB, **bucket.parameters(root, **more)}
        made.append(S3Driver(Settings.of(parameters)))
        return made[-1]

    yield make
    last = make()
    for name in {key.removeprefix(f"{root}/").split("/")[0] for key in bucket.objects(f"{root}/")}:
        try:
            await last.delete(f"/{name}")
        except PathNotFoundError:
            continue
    for driver in made:
        await driver.close()
    client = bucket.client()
    for key, upload in bucket.uploads(f"{root}/"):
        client.abort_multipart_upload(Bucket=bucket.name, Key=key, UploadId=upload)
    client.close()


@pytest.fixture
def driver(make_driver: MakeDriver) -> S3Driver:
    return make_driver()


@pytest.fixture
def objects(bucket: TestBucket, root: str) -> Callable[[], dict[str, int]]:
    """Size by key, the root directory left out, of what is in the bucket."""
    return lambda: {key.removeprefix(f"{root}/"): size for key, size in bucket.objects(f"{root}/").items()}


@pytest.fixture
def uploads(bucket: TestBucket, root: str) -> Callable[[], list[str]]:
    """The keys, the root directory left out, of the multipart uploads under way."""
    return lambda: [key.removeprefix(f"{root}/") for key, _ in bucket.uploads(f"{root}/")]


@pytest.fixture
async def requests_of() -> Callable[[S3Driver], Any]:
    """The requests that a driver makes from now on."""

    async def watch(driver: S3Driver) -> Requests:
        return Requests(await driver._connection.client())

    return watch
