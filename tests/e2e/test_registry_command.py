"""distribution's command with the configurations of its image and of its developers, moved elsewhere."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.client import V2Client
from support.images import make_image
from support.processes import Process, free_port, wait_until
from support.registry import clean_environment

# What the image has, and what a developer's machine has: the keys of distribution's own examples.
EVERYWHERE: dict[str, Any] = {
    "version": 0.1,
    "log": {"fields": {"service": "registry"}},
    "http": {"addr": ":5000", "headers": {"X-Content-Type-Options": ["nosniff"]}},
    "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
}
IMAGE = {
    **EVERYWHERE,
    "storage": {
        "cache": {"blobdescriptor": "inmemory"},
        "filesystem": {"rootdirectory": "/var/lib/registry"},
    },
}
DEVELOPMENT = {
    **EVERYWHERE,
    "log": {
        "accesslog": {"disabled": True},
        "level": "debug",
        "fields": {"service": "registry", "environment": "development"},
    },
    "storage": {
        "delete": {"enabled": True},
        "cache": {"blobdescriptor": "inmemory"},
        "filesystem": {"rootdirectory": "/var/lib/registry"},
        "maintenance": {"uploadpurging": {"enabled": False}},
        "tag": {"concurrencylimit": 8},
    },
    "http": {
        **EVERYWHERE["http"],
        "debug": {"addr": ":5001", "prometheus": {"enabled": True, "path": "/metrics"}},
    },
}


@pytest.fixture(params=["image", "development"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Process]]:
    """The URL of a registry that `registry serve` runs."""
    document = IMAGE if request.param == "image" else DEVELOPMENT
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump(document))
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="moorage-test-") as runtime:
        environment = {
            **clean_environment(),
            "XDG_RUNTIME_DIR": runtime,
            "MOORAGE_DATA_DIR": str(tmp_path / "data"),
            "REGISTRY_HTTP_ADDR": address,
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "registry"),
        }
        if "debug" in document["http"]:
            environment["REGISTRY_HTTP_DEBUG_ADDR"] = f"127.0.0.1:{free_port()}"
        command = Path(sys.executable).with_name("registry")
        process = Process([command, "serve", config], log=tmp_path / "registry.log", env=environment)
        try:
            wait_until(
                lambda: not process.running() or "Moorage is ready at" in process.log.read_text(),
                timeout=60,
                what="the registry is ready",
            )
            assert process.running(), process.tail()
            yield f"http://{address}", process
            assert process.stop() == 0, process.tail()
        finally:
            if process.running():
                process.kill()


def test_an_image_is_pushed_and_pulled(served: tuple[str, Process]) -> None:
    url, process = served
    image = make_image(7, (3000, 500))
    with V2Client(url) as client:
        client.push_image("team/app", "one", image)
        client.assert_holds("team/app", "one", image)
        assert client.http.get("/v2/").headers["x-content-type-options"] == "nosniff"
    log = process.log.read_text()
    assert "service=registry" in log
    assert "level=warning" not in log, log
