"""Controllers in a registry that runs: keys that change, and the class of what a token is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from support.processes import wait_until
from support.tokenserver import Issuer

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def test_keys_are_changed_without_a_restart(start_registry, tmp_path: Path) -> None:
    old, new = Issuer(key_id="old"), Issuer(key_id="new")
    jwks = tmp_path / "jwks.json"
    client = start_registry(alone=True, auth=old.auth(jwks)).client

    def counts(issuer: Issuer) -> bool:
        return client.get("/v2/", headers=issuer.bearer()).status_code == 200

    def failures() -> float:
        return REGISTRY.get_sample_value("moorage_gateway_access_reload_failures_total") or 0.0

    kept = old.bearer()
    assert client.get("/v2/", headers=kept).status_code == 200
    assert not counts(new)
    before = failures()
    jwks.write_text("{")
    # The files are looked at once a second.
    wait_until(lambda: failures() > before, timeout=20, what="the bad file is counted")
    # What it held stays.
    assert counts(old)
    assert not counts(new)
    jwks.write_text(new.jwks())
    wait_until(lambda: counts(new), timeout=20, what="the new key counts")
    assert not counts(old)
    # Also what was remembered of the old one.
    assert client.get("/v2/", headers=kept).status_code == 401


def access(class_name: str | None) -> list[dict[str, Any]]:
    entry = {"type": "repository", "name": "team/app", "actions": ["pull", "push"]}
    return [entry if class_name is None else {**entry, "class": class_name}]


@pytest.mark.parametrize(
    ("classes", "class_name", "status"),
    [
        ([], None, 201),
        ([], "plugin", 201),
        (["image"], None, 201),
        (["image"], "", 201),
        (["image"], "image", 201),
        (["image", "plugin"], "plugin", 403),
        (["plugin"], None, 403),
        (["plugin"], "plugin", 403),
    ],
)
def test_an_image_goes_where_the_class_of_the_grant_lets_it(
    start_registry, tmp_path: Path, classes: list[str], class_name: str | None, status: int
) -> None:
    """`policy.repository.classes`; a grant without a class is for images, as in distribution."""
    issuer = Issuer()
    policy = {"repository": {"classes": classes}}
    registry = start_registry(auth=issuer.auth(tmp_path / "jwks.json"), policy=policy)
    registry.client.headers.update(issuer.bearer(access=access(class_name)))
    answer = registry.put_manifest("team/app", "v1", registry.image("team/app"), OCI_MANIFEST)
    assert answer.status_code == status, answer.text
