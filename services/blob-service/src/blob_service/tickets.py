"""Tickets: loans that are kept until somebody redeems them at the data port."""

from __future__ import annotations

import secrets
from collections import OrderedDict

from moorage.channel import MAX_MESSAGE
from moorage.clock import boot_seconds
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

# Seconds for which a ticket can be redeemed.
LIFETIME = 30

# Tickets that are kept, at most, and the most bytes of a loan: what fits a frame.
_MOST = 4096
_MOST_BYTES = MAX_MESSAGE

_BYTES = 32


class Tickets:
    """Tickets of one use.

    They are looked up as keys of a dictionary, which compares hashes first. Those are seeded anew in each
    process, so the time that it takes says nothing about how much of a guess is right.
    """

    def __init__(self) -> None:
        self._loans: OrderedDict[bytes, tuple[float, blob_pb2.Loan]] = OrderedDict()

    def issue(self, loan: blob_pb2.Loan) -> bytes:
        """Keep a loan; the ticket for it.

        Raises RegistryError TOOMANYREQUESTS when too many wait, and SIZE_INVALID (413) for too large a loan.
        """
        if loan.ByteSize() > _MOST_BYTES:
            raise RegistryError(ErrorCode.SIZE_INVALID, {"limit": _MOST_BYTES}, http_status=413)
        now = boot_seconds()
        while self._loans and next(iter(self._loans.values()))[0] <= now:
            self._loans.popitem(last=False)
        if len(self._loans) >= _MOST:
            raise RegistryError(ErrorCode.TOOMANYREQUESTS, {"tickets": _MOST})
        ticket = secrets.token_bytes(_BYTES)
        self._loans[ticket] = (now + LIFETIME, loan)
        return ticket

    def redeem(self, ticket: bytes) -> blob_pb2.Loan:
        """The loan of a ticket, which is used up then. Raises RegistryError DENIED."""
        expires_at, loan = self._loans.pop(ticket, (0.0, None))
        if loan is None or expires_at <= boot_seconds():
            raise RegistryError(ErrorCode.DENIED, {"reason": "no such ticket"})
        return loan

    def __len__(self) -> int:
        return len(self._loans)
