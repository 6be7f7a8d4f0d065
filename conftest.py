"""Fixtures that the tests of several parts of the tree share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.ceph import S3Access
from support.shared_ceph import SharedCeph, shared_ceph

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("moorage", deadline=None)
settings.load_profile("moorage")


@pytest.fixture(scope="session")
def ceph() -> Iterator[SharedCeph]:
    """The Ceph of this test run: use a namespace of the test's own, and do not stop it."""
    with shared_ceph() as ceph:
        yield ceph


@pytest.fixture(scope="session")
def s3(ceph: SharedCeph) -> S3Access:
    """The S3 endpoint of this test run's Ceph: use a bucket of the test's own."""
    return ceph.gateway()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For sockets: pytest's own folders have too long a path."""
    with tempfile.TemporaryDirectory(prefix="moorage-test-", dir="/tmp") as folder:
        yield Path(folder)
