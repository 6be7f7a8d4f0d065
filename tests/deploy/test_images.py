"""The four Dockerfiles, which stand alone, are alike in what the four images share."""

from __future__ import annotations

import re

from support.manifests import ROOT, SERVICES


def test_the_four_images_are_built_alike() -> None:
    """Else the layers that they begin with are built and kept four times."""
    stages = set()
    for service in SERVICES:
        dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
        found = re.search(r"^ARG PYTHON_IMAGE=.*?^FROM \S+ AS build$.*?(?=^FROM )", dockerfile, re.M | re.S)
        assert found, service
        stages.add(found[0].replace(service, "SERVICE"))
    assert len(stages) == 1
