from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.client import V2Client
from support.engine import DockerEngine, Podman
from support.registry import SEVERAL_WORKERS, Stack, Up, running_stack, running_up


@pytest.fixture(scope="session")
def moorage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Moorage as `moorage up` starts it, on a free port."""
    with running_up(tmp_path_factory.mktemp("moorage"), SEVERAL_WORKERS) as up:
        yield up


@pytest.fixture
def client(moorage: Up) -> Iterator[V2Client]:
    with V2Client(moorage.url) as client:
        yield client


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four services of this test's own, to be killed at will."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository of this test's own."""
    return "e2e/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:120]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    engine = DockerEngine(tmp_path_factory.mktemp("docker"))
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    podman = Podman(tmp_path_factory.mktemp("podman"))
    yield podman
    podman.stop()
