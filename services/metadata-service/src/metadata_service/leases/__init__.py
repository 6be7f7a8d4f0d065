"""Leases: what gateways may rely on without asking again, and how it is taken back. See docs/leases.md."""

from __future__ import annotations

from metadata_service.leases.book import Leases
from metadata_service.leases.changing import Mark, Watch
from metadata_service.leases.lease import Revoked
from metadata_service.leases.stream import serve_lease

__all__ = ["Leases", "Mark", "Revoked", "Watch", "serve_lease"]
