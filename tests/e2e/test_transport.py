"""The services on several hosts: TCP between them, and several instances behind one gateway."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from support.client import V2Client
from support.images import make_image, make_index
from support.processes import wait_until
from support.registry import Stack, running_stack


def test_the_services_talk_over_tcp(tmp_path: Path) -> None:
    with running_stack(tmp_path, tcp=True) as stack, V2Client(stack.url) as client:
        image = make_image(80)
        client.push_image("team/app", "one", image)
        client.push_index("team/app", "all", make_index(81))
        client.assert_holds("team/app", "one", image)


@pytest.mark.parametrize(
    ("service", "contract"),
    [
        ("blob", {"moorage.v1.BlobStore", "moorage.v1.Uploads", "moorage.v1.ObjectStore"}),
        ("metadata", {"moorage.v1.Metadata"}),
        ("notifier", {"moorage.v1.Notifier"}),
    ],
)
def test_each_service_tells_its_health_and_its_contract(
    stack: Stack, service: str, contract: set[str]
) -> None:
    with grpc.insecure_channel(stack.target(service)) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert contract <= set(ProtoReflectionDescriptorDatabase(channel).get_services())


def test_one_request_id_is_found_in_every_service_that_took_part(stack: Stack) -> None:
    request_id = "id-of-one-request"
    with V2Client(stack.url) as client:
        client.http.get("/v2/team/app/manifests/none", headers={"x-request-id": request_id})
    # The logs are written beside the requests.
    for service in ("gateway", "metadata", "blob"):
        log = stack.processes[service].log
        wait_until(partial(_has, log, request_id), timeout=10, what=f"{service} logs the request")


def _has(log: Path, text: str) -> bool:
    return text in log.read_text()
