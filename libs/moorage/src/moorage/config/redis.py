"""`redis`: the Redis of the descriptor cache.

Both generations of keys are read: distribution 2's (`addr`, `pool`), and distribution 3's, which are the
fields of go-redis' UniversalOptions in lower case. What two keys mean stands in one property here, and nobody
else needs to know which of them was written.

Sources: distribution's `configuration` package and docs, versions 2.8 and 3.1; go-redis v9, `universal.go`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from moorage.config.section import Section
from moorage.config.values import (
    Count,
    Flag,
    Integer,
    Seconds,
    Secret,
    Text,
    as_list,
    one_of,
    split_host_port,
)

# Seconds. A cache that is slower than this does not pay.
DEFAULT_TIMEOUT = 0.5

DEFAULT_MIN_BACKOFF = 0.008
DEFAULT_MAX_BACKOFF = 0.512
DEFAULT_IDLE_TIME = 30 * 60.0

Mode = Literal["single", "sentinel", "cluster"]


def _address(value: str) -> str:
    try:
        split_host_port(value)
    except ValueError:
        shown = "" if "@" in value else f": {value!r}"  # what stands before an @ may be a password
        raise ValueError(f"not host:port{shown}") from None
    return value


_Address = Annotated[Text, AfterValidator(_address)]
_Timeout = Annotated[Seconds, AfterValidator(lambda value: value or DEFAULT_TIMEOUT)]


def _retries(value: int) -> int:
    # go-redis writes "none" as -1.
    return max(value, 0)


class RedisPool(Section):
    """`redis.pool`: distribution 2's names. 0 is no limit."""

    maxidle: Count = 0
    maxactive: Count = 0
    idletimeout: Seconds = 0.0


class RedisTLS(Section):
    """`redis.tls`. TLS is on when a key here asks for it, unless `enabled` is false."""

    enabled: Flag | None = None
    certificate: Text = ""
    key: Text = ""
    clientcas: Annotated[tuple[Text, ...], BeforeValidator(as_list)] = ()
    rootcas: Annotated[tuple[Text, ...], BeforeValidator(as_list)] = ()

    @property
    def is_on(self) -> bool:
        """Whether connections are encrypted."""
        if self.enabled is not None:
            return self.enabled
        return bool(self.certificate or self.key or self.authorities)

    @property
    def authorities(self) -> tuple[str, ...]:
        """The files with the certificates that the server's must lead to; none for the system's."""
        return (*self.clientcas, *self.rootcas)


class Redis(Section):
    """`redis`. Ask the properties: they say the same in both generations of keys."""

    addr: _Address | None = None
    addrs: Annotated[tuple[_Address, ...], BeforeValidator(as_list)] = ()
    mastername: Text = ""
    isclustermode: Flag = False
    db: Count = 0
    username: Text = ""
    password: Secret = None
    sentinelusername: Text = ""
    sentinelpassword: Secret = None
    clientname: Text = ""
    protocol: Annotated[Literal["2", "3"], BeforeValidator(one_of("2", "3"))] = "2"
    disableidentity: Flag = False
    disableindentity: Flag = False
    identitysuffix: Text = ""
    dialtimeout: _Timeout = DEFAULT_TIMEOUT
    readtimeout: _Timeout = DEFAULT_TIMEOUT
    writetimeout: _Timeout = DEFAULT_TIMEOUT
    pooltimeout: Seconds = 0.0
    contexttimeoutenabled: Flag = True
    maxretries: Annotated[Integer, AfterValidator(_retries)] = 0
    minretrybackoff: Seconds = DEFAULT_MIN_BACKOFF
    maxretrybackoff: Seconds = DEFAULT_MAX_BACKOFF
    maxredirects: Count = 3
    poolsize: Count = 0
    poolfifo: Flag = False
    minidleconns: Count = 0
    maxidleconns: Count = 0
    maxactiveconns: Count = 0
    connmaxidletime: Seconds = DEFAULT_IDLE_TIME
    connmaxlifetime: Seconds = 0.0
    readonly: Flag = False
    routebylatency: Flag = False
    routerandomly: Flag = False
    unstableresp3: Flag = False
    pool: RedisPool = Field(default_factory=RedisPool)
    tls: RedisTLS = Field(default_factory=RedisTLS)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where Redis is, or its sentinels are: `host:port` each, without a host for this one."""
        return self.addrs or ((self.addr,) if self.addr is not None else ())

    @property
    def mode(self) -> Mode:
        """What is at the addresses: one server, sentinels, or nodes of a cluster."""
        if self.mastername:
            return "sentinel"
        return "cluster" if self.isclustermode or len(self.addresses) > 1 else "single"

    @property
    def most_connections(self) -> int:
        """How many connections there may be at a time (to each node, in a cluster); at least 1."""
        wanted = self.poolsize or self.pool.maxactive or 10 * (os.cpu_count() or 1)
        return min(wanted, self.maxactiveconns or wanted)

    @property
    def most_idle_connections(self) -> int:
        """How many connections nobody uses are kept; 0 for all."""
        return self.maxidleconns or self.pool.maxidle

    @property
    def longest_idle(self) -> float:
        """For how many seconds a connection may be unused before it is replaced; 0 for any time."""
        return self.pool.idletimeout if self._is_second_generation else self.connmaxidletime

    @property
    def longest_wait(self) -> float:
        """For how many seconds to wait for a connection when all are in use."""
        # distribution 2 did not wait for a connection, but went on without its cache.
        return 0.0 if self._is_second_generation else self.pooltimeout or self.readtimeout

    def problems(self) -> Iterator[tuple[str, str]]:
        """What does not go together: a key of this section each, and a sentence."""
        yield from self._two_names()
        if self.mode == "cluster" and self.db:
            yield "db", "must be 0 for a cluster, which has no other database"
        if not self.addresses and (self.mastername or self.isclustermode):
            yield "addrs", "is required"
        if self.tls.is_on and bool(self.tls.certificate) != bool(self.tls.key):
            missing = "key" if self.tls.certificate else "certificate"
            yield f"tls.{missing}", "is required: redis.tls.certificate and redis.tls.key go together"

    def remarks(self) -> Iterator[tuple[str, str]]:
        """What will be left aside: a key each, and a sentence."""
        if self.mode == "cluster":
            for key in ("minidleconns", "maxidleconns"):
                if getattr(self, key):
                    yield key, "not applied to a cluster"
            if self.pool.maxidle:
                yield "pool.maxidle", "not applied to a cluster"

    @property
    def _is_second_generation(self) -> bool:
        return "pool" in self.model_fields_set

    def _two_names(self) -> Iterator[tuple[str, str]]:
        given = self.model_fields_set
        in_pool = self.pool.model_fields_set
        if {"addr", "addrs"} <= given:
            yield "addr", "stands for the same as redis.addrs; give one of them"
        for old, new in (
            ("maxidle", "maxidleconns"),
            ("maxactive", "poolsize"),
            ("idletimeout", "connmaxidletime"),
        ):
            if old in in_pool and new in given:
                yield f"pool.{old}", f"stands for the same as redis.{new}; give one of them"
