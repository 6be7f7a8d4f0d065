"""Calls to the metadata service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api_gateway.clients.metadata import MetadataClient
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, open_channel
from moorage.v1 import common_pb2


async def test_a_link_waits_for_its_service_as_long_as_one_call_may_take(short_folder: Path) -> None:
    channel = open_channel(Address.parse(f"unix://{short_folder}/service.sock"))
    client = MetadataClient(channel, timeout=2, grace=0.1)
    async with asyncio.timeout(3.5):
        with pytest.raises(RegistryError) as caught:
            await client.link_blob("team/app", common_pb2.Descriptor(), [])
    assert caught.value.code is ErrorCode.UNAVAILABLE
    await channel.close(None)
