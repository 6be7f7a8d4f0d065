"""kill -9 of the metadata service between any two steps of a push or a delete."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import pytest

from moorage.errors import RegistryError
from moorage.rpc import wait_until_serving

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SUBJECT = "sha256:" + "5" * 64

_PROCESS = """
import asyncio, sys
from metadata_service.main import SERVICE
from moorage import logging
from moorage.config import parse
from moorage.service import run_until_signalled

logging.configure(level="error", formatter="text", fields={}, service="metadata")
asyncio.run(run_until_signalled(SERVICE, parse(sys.argv[1], {})))
"""


class Crasher:
    """A registry whose metadata service is a process that is killed when storage comes to a given step."""

    def __init__(self, stack, driver) -> None:
        self._stack = stack
        self._driver = driver
        self._process: asyncio.subprocess.Process | None = None
        self._steps_left: int | None = None

    async def on_step(self, operation: str, path: str) -> None:
        if operation == "list" or self._steps_left is None:
            return
        if self._steps_left == 0:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()
            # The blob service hears that its caller is gone and cancels the call: nothing more is written.
            await asyncio.Event().wait()
        self._steps_left -= 1

    async def crash(self, steps: int, change) -> bool:
        """Kill the service when `change(registry)` comes to step `steps`; whether it came that far."""
        blob = await self._stack.blob_service(self._driver)
        address = self._stack.address("metadata")
        config = (
            "version: 0.1\nstorage: {inmemory: {}, delete: {enabled: true}}\n"
            f"services: {{metadata: {{addr: '{address}'}}, blob: {{addr: '{blob}'}}}}\n"
        )
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, config)
        try:
            channel = self._stack.channel(address)
            assert await wait_until_serving(channel, timeout=20)
            registry = self._stack.client(channel, blob, self._driver)
            self._steps_left = steps
            try:
                await change(registry)
            except RegistryError:
                return True
            return False
        finally:
            self._steps_left = None
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@pytest.fixture
def crasher(stack, hooked) -> Crasher:
    async def step(operation: str, path: str) -> None:
        await crasher.on_step(operation, path)

    crasher = Crasher(stack, hooked(step))
    return crasher


async def assert_whole(registry, contents: set[bytes]) -> None:
    """Whatever can be read is whole, and whatever is listed as a referrer can be read."""
    with suppress(RegistryError):
        for tag in await registry.tags("team/app"):
            if await registry.has_manifest("team/app", tag):
                assert (await registry.get("team/app", tag)).content in contents
    for digest in await registry.referrers("team/app", SUBJECT):
        assert await registry.has_manifest("team/app", digest)


@pytest.mark.parametrize("by", ["tag", "sha256", "sha512"])
async def test_a_push_that_was_killed_anywhere_left_nothing_broken_and_succeeds_when_repeated(
    registry, crasher, sha, by
) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 1}
    old = await registry.image("team/app", "old")
    await registry.put("team/app", "v1", old)
    steps = 0
    crashed = True
    while crashed:
        content = await registry.image("team/app", f"{by} {steps}", subject=subject)

        async def push(to, content: bytes = content) -> None:
            if by == "tag":
                await to.put("team/app", "v1", content)
            else:
                await to.put("team/app", sha(content, by), content, tags=["v1", "v2"])

        before = (await registry.get("team/app", "v1")).content
        crashed = await crasher.crash(steps, push)
        now = (await registry.get("team/app", "v1")).content
        assert now in {before, content}
        if not crashed:
            assert now == content
        await assert_whole(registry, {old, before, content})
        await push(registry)
        assert (await registry.get("team/app", "v1")).content == content
        digest = sha(content) if by == "tag" else sha(content, by)
        assert digest in await registry.referrers("team/app", SUBJECT)
        await assert_whole(registry, {old, before, content})
        steps += 1
    # The bytes, the revision, the referrer's entry, and two links of each tag.
    assert steps - 1 == {"tag": 5, "sha256": 7, "sha512": 8}[by]


@pytest.mark.parametrize("by", ["sha256", "sha512"])
async def test_a_delete_that_was_killed_anywhere_leaves_no_tag_of_nothing_and_can_be_repeated(
    registry, crasher, sha, by
) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 1}
    content = await registry.image("team/app", subject=subject)
    steps = 0
    crashed = True
    while crashed:
        await registry.put("team/app", sha(content, "sha512"), content, tags=["v1", "v2"])
        await registry.put("team/app", "v3", content)
        digest = sha(content, by)
        crashed = await crasher.crash(steps, lambda to, digest=digest: to.delete("team/app", digest))
        there = await registry.has_manifest("team/app", digest)
        assert there or not await registry.tags("team/app")
        await assert_whole(registry, {content})
        if there:
            assert crashed
            await registry.delete("team/app", digest)
        assert await registry.tags("team/app") == []
        for each in (sha(content), sha(content, "sha512")):
            assert not await registry.has_manifest("team/app", each)
        assert await registry.referrers("team/app", SUBJECT) == []
        steps += 1
    # Two steps for each of three tags, two revision links, two entries among the referrers.
    assert steps - 1 == 10


async def test_an_index_that_was_pushed_with_its_children_by_a_client_that_repeats_itself_is_whole(
    registry, crasher, sha
) -> None:
    child = await registry.image("team/app", "child")
    document = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": sha(child), "size": len(child)}],
    }
    index = json.dumps(document).encode()

    async def push(to) -> None:
        await to.put("team/app", sha(child), child)
        await to.put("team/app", "v1", index, "application/vnd.oci.image.index.v1+json")

    for steps in range(5):
        assert await crasher.crash(steps, push)
        if await registry.has_manifest("team/app", "v1"):
            assert await registry.has_manifest("team/app", sha(child))
        await push(registry)
        assert (await registry.get("team/app", "v1")).content == index
        await registry.clear()
        await registry.image("team/app", "child")
