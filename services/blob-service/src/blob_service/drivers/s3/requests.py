"""One request to the bucket: its turn, its deadline, its repetition when it may pass, its error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from blob_service.drivers.s3.connection import REQUESTS, Connection
from blob_service.drivers.s3.failures import REQUEST_ERRORS, code_of, may_pass, storage_error

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_T = TypeVar("_T")

NAME = "s3"

ATTEMPTS = 6
# Between two attempts: a random time of up to 0.2, 0.4, 0.8 ... seconds, so that those who failed together do
# not come back together.
_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0

log = structlog.get_logger(__name__)


class Deadline:
    """How long the endpoint may do nothing. Each sign of life sets the clock back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    def progressed(self) -> None:
        """The endpoint took or gave something."""
        if not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)

    async def __aenter__(self) -> Deadline:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._timeout.__aexit__(*error)  # type: ignore[arg-type]  # what the interpreter passes


Attempt = Callable[["S3Client", Deadline], Awaitable[_T]]


class Requests:
    """Makes requests; `timeout` is how many seconds the endpoint may be silent. For one event loop."""

    def __init__(self, connection: Connection, *, timeout: float, logged: frozenset[str]) -> None:
        """`logged` says which attempts are logged, at level debug: `all`, `errors`, `retries`."""
        self._connection = connection
        self._timeout = timeout
        self._logged = logged
        self._turns = asyncio.Semaphore(REQUESTS)

    async def make(
        self, operation: str, path: str, attempt: Attempt[_T], *, patience: float | None = None
    ) -> _T:
        """What `attempt` returns; tried again with jitter while its failure may pass.

        It is given up after ATTEMPTS, or once two timeouts have passed. `patience` takes the place of the
        timeout for what the endpoint works on for longer without a word. Raises botocore's ClientError for an
        answer that is an error and will stay one, so that the caller can tell which; see `failing`.
        """
        timeout = self._timeout if patience is None else max(patience, self._timeout)

        def log_retry(state: RetryCallState) -> None:
            if self._logged & {"all", "retries"}:
                log.debug("a request to S3 is repeated", operation=operation, attempt=state.attempt_number)

        async for turn in AsyncRetrying(
            retry=retry_if_exception(may_pass),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
            stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(2 * timeout),
            before_sleep=log_retry,
            reraise=True,
        ):
            with turn:
                return await self._attempt(operation, path, attempt, timeout)
        raise AssertionError("tenacity returns or raises")

    async def __call__(
        self, operation: str, path: str, attempt: Attempt[_T], *, patience: float | None = None
    ) -> _T:
        """As `make`, with every failure as a StorageError about `path`."""
        try:
            return await self.make(operation, path, attempt, patience=patience)
        except REQUEST_ERRORS as error:
            raise storage_error(NAME, operation, path, error) from error

    async def _attempt(self, operation: str, path: str, attempt: Attempt[_T], timeout: float) -> _T:
        client = await self._connection.client()
        async with self._turns:
            started = perf_counter()
            try:
                async with Deadline(timeout) as deadline:
                    result = await attempt(client, deadline)
            except REQUEST_ERRORS as error:
                if self._logged & {"all", "errors"}:
                    self._log(operation, path, started, code_of(error) or type(error).__name__)
                raise
            if "all" in self._logged:
                self._log(operation, path, started, "ok")
            return result

    def _log(self, operation: str, path: str, started: float, outcome: str) -> None:
        seconds = round(perf_counter() - started, 6)
        log.debug("S3 request", operation=operation, path=path, outcome=outcome, seconds=seconds)
