"""Leases over the wire: who may keep what, and that nothing changes while somebody may keep it."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import grpc
import pytest

from blob_service.drivers.interface import StorageError
from metadata_service.main import SERVICE
from moorage.config import parse
from moorage.errors import RegistryError
from moorage.rpc import wait_until_serving

# Seconds. Long enough for a slow machine to do a few calls in, short enough to wait for.
LEASE = 1.0


async def never(_operation: str, _path: str) -> None:
    """A hook that holds nothing up."""


async def settle() -> None:
    """Time for what ought not to happen."""
    await asyncio.sleep(0.1)


async def until_held(gateway, repository: str, reference: str) -> None:
    async with asyncio.timeout(10):
        while not await gateway.holds(repository, reference):
            await asyncio.sleep(0.01)


@pytest.fixture
async def registry(stack, driver):
    """A registry that has been up for longer than a lease, with one image in it."""
    registry = await stack.registry(driver, lease=f"{LEASE}s")
    # Waits for the leases of a service before this one.
    await registry.push("team/app", "v1")
    return registry


# Granting


async def test_a_gateway_is_granted_a_lease_of_its_own_for_the_configured_time(stack, registry) -> None:
    one, other = await stack.gateway(registry), await stack.gateway(registry)
    assert one.lease
    assert one.lease != other.lease
    first = one.lease
    assert LEASE * 1000 - 50 <= await one.renew() <= LEASE * 1000
    assert one.lease == first


async def test_answers_under_a_lease_may_be_kept_and_others_not(stack, registry, blob_of) -> None:
    gateway = await stack.gateway(registry)
    digest = (await registry.get("team/app", "v1")).descriptor.digest
    layer = await registry.push_blob("team/app", b"a layer")
    assert await gateway.holds("team/app", "v1")
    assert await gateway.holds("team/app", digest)
    (blob,) = await gateway.resolve(blob_of("team/app", layer))
    assert blob.held
    assert not await gateway.holds("team/app", "v1", lease="")
    assert not await gateway.holds("team/app", "v1", lease="0123")


async def test_a_list_of_tags_may_be_kept_under_a_lease_and_a_new_tag_is_made_when_the_holder_has_confirmed(
    stack, registry, refused
) -> None:
    gateway = await stack.gateway(registry, silent=True)
    assert not await gateway.holds_tags("team/app", lease="")
    assert not await gateway.holds_tags("team/app", lease="0123")
    with refused("NAME_UNKNOWN"):
        await gateway.holds_tags("team/other")
    assert await gateway.holds_tags("team/app")
    pushing = asyncio.create_task(registry.push("team/app", "v2"))
    revocation = await gateway.revocation()
    assert (revocation.repository, list(revocation.tags)) == ("team/app", ["v2"])
    # The change waits, and its mark stands.
    assert not await gateway.holds_tags("team/app")
    assert await registry.tags("team/app") == ["v1"]
    await gateway.confirm(revocation)
    await pushing
    assert await registry.tags("team/app") == ["v1", "v2"]
    assert await gateway.holds_tags("team/app")


async def test_a_list_that_met_a_change_may_not_be_kept_although_the_change_is_through(stack, hooked) -> None:
    listing, go_on = asyncio.Event(), asyncio.Event()

    async def hold(operation: str, path: str) -> None:
        if operation == "list" and path.endswith("/_manifests/tags"):
            listing.set()
            await go_on.wait()

    registry = await stack.registry(hooked(hold), lease=f"{LEASE}s")
    await registry.push("team/app", "v1")
    gateway = await stack.gateway(registry)
    asking = asyncio.create_task(gateway.holds_tags("team/app"))
    await listing.wait()
    await registry.push("team/app", "v2")
    go_on.set()
    assert not await asking
    assert await gateway.holds_tags("team/app")


async def test_that_something_is_unknown_may_not_be_kept(stack, registry, blob_of) -> None:
    gateway = await stack.gateway(registry)
    (answer,) = await gateway.resolve(blob_of("team/app", "sha256:" + "0" * 64))
    assert answer.failure.errors[0].code == "BLOB_UNKNOWN"
    assert not answer.held
    assert not await gateway.holds("team/app", "no-such-tag")
    # So the push of it has nobody to ask.
    await registry.push("team/app", "no-such-tag")
    assert not gateway.revocations


async def test_a_lease_goes_on_while_it_is_renewed(stack, registry) -> None:
    gateway = await stack.gateway(registry)
    for _ in range(6):
        await asyncio.sleep(LEASE / 3)
        await gateway.renew()
    assert await gateway.holds("team/app", "v1")


async def test_a_lease_that_is_not_renewed_runs_out_and_its_stream_is_closed(stack, registry) -> None:
    gateway = await stack.gateway(registry)
    assert await gateway.holds("team/app", "v1")
    lease = gateway.lease
    async with asyncio.timeout(5 * LEASE):
        await gateway.ended
    assert not await gateway.holds("team/app", "v1", lease=lease)
    started = time.monotonic()
    await registry.push("team/app", "v1", "another")
    assert time.monotonic() - started < LEASE


# Revoking


async def test_a_push_is_acknowledged_only_when_the_holder_has_confirmed(stack, registry) -> None:
    gateway = await stack.gateway(registry, silent=True)
    before = (await registry.get("team/app", "v1")).descriptor.digest
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.push("team/app", "v1", "another"))
    revocation = await gateway.revocation()
    assert (revocation.repository, list(revocation.tags), list(revocation.digests)) == (
        "team/app",
        ["v1"],
        [],
    )
    await settle()
    assert not pushing.done()
    # And not changed either: a gateway that crashes now has told no client anything too early.
    assert (await registry.get("team/app", "v1")).descriptor.digest == before
    await gateway.confirm(revocation)
    after = await pushing
    assert after != before
    assert (await registry.get("team/app", "v1")).descriptor.digest == after


async def test_the_confirmation_of_another_revocation_is_none(stack, registry) -> None:
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.push("team/app", "v1", "another"))
    revocation = await gateway.revocation()
    other = type(revocation)(number=revocation.number + 1)
    await gateway.confirm(other)
    await settle()
    assert not pushing.done()
    await gateway.confirm(revocation)
    await pushing


async def test_all_holders_of_the_repository_are_told_and_nobody_else(stack, registry) -> None:
    await registry.push("team/other", "v1")
    holders = [await stack.gateway(registry) for _ in range(3)]
    elsewhere, empty = await stack.gateway(registry), await stack.gateway(registry)
    for holder in holders:
        assert await holder.holds("team/app", "v1")
    assert await elsewhere.holds("team/other", "v1")
    await registry.push("team/app", "v1", "another")
    assert [len(each.revocations) for each in (*holders, elsewhere, empty)] == [1, 1, 1, 0, 0]


async def test_a_push_of_several_tags_revokes_each_of_them(stack, registry, sha) -> None:
    gateway = await stack.gateway(registry)
    assert await gateway.holds("team/app", "v1")
    content = await registry.image("team/app", "another")
    await registry.put("team/app", sha(content), content, tags=["v1", "v2"])
    assert list((await gateway.revocation()).tags) == ["v1", "v2"]


async def test_what_makes_no_answer_wrong_revokes_nothing(stack, registry, sha) -> None:
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    content = await registry.image("team/app", "another")
    await registry.put("team/app", sha(content), content)
    layer = await registry.push_blob("team/other", b"elsewhere")
    await registry.mount("team/app", "team/other", layer)
    assert not gateway.revocations


async def test_the_delete_of_a_tag_revokes_the_tag(stack, registry) -> None:
    gateway = await stack.gateway(registry)
    assert await gateway.holds("team/app", "v1")
    await registry.delete("team/app", "v1")
    revocation = await gateway.revocation()
    assert (list(revocation.tags), list(revocation.digests)) == (["v1"], [])


async def test_the_unlink_of_a_blob_revokes_it_under_the_digest_asked_for_and_the_canonical_one(
    stack, registry, blob_of, sha
) -> None:
    gateway = await stack.gateway(registry)
    alias = await registry.push_blob("team/app", b"a layer", "sha512")
    (answer,) = await gateway.resolve(blob_of("team/app", alias))
    assert answer.held
    await registry.unlink("team/app", alias)
    revocation = await gateway.revocation()
    assert (list(revocation.tags), set(revocation.digests)) == ([], {alias, sha(b"a layer")})


async def test_the_delete_of_a_manifest_revokes_the_whole_repository_and_forgets_its_holders(
    stack, registry
) -> None:
    gateway = await stack.gateway(registry)
    other = await registry.push("team/app", "v2")
    assert await gateway.holds("team/app", "v1")
    await registry.delete("team/app", (await registry.get("team/app", "v1")).descriptor.digest)
    revocation = await gateway.revocation()
    assert (revocation.repository, list(revocation.tags), list(revocation.digests)) == ("team/app", [], [])
    await registry.delete("team/app", other)
    assert len(gateway.revocations) == 1
    # From the next answer on it is a holder again.
    await registry.push("team/app", "v3")
    assert await gateway.holds("team/app", "v3")
    await registry.push("team/app", "v3", "another")
    assert len(gateway.revocations) == 2


# While a change is under way


async def test_nothing_may_be_kept_from_the_revocation_until_the_change_is_through(stack, hooked) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_operation: str, path: str) -> None:
        if path.endswith("v1/current/link"):
            reached.set()
            await go_on.wait()

    storage = hooked(never)
    registry = await stack.registry(storage, lease=f"{LEASE}s")
    await registry.push("team/app", "v1")
    await registry.push("team/app", "v2")
    await registry.push("team/other", "v1")
    storage.hook = hold
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.push("team/app", "v1", "another"))
    await gateway.confirm(await gateway.revocation())
    await reached.wait()
    assert not await gateway.holds("team/app", "v1")
    # Of the whole repository: a manifest may be reached by more than one name.
    assert not await gateway.holds("team/app", "v2")
    assert await gateway.holds("team/other", "v1")
    go_on.set()
    await pushing
    assert await gateway.holds("team/app", "v1")


async def test_a_look_up_that_met_a_change_may_not_be_kept_although_the_change_is_through(
    stack, hooked
) -> None:
    reading, read_on = asyncio.Event(), asyncio.Event()
    storage = hooked(never)
    registry = await stack.registry(storage, lease=f"{LEASE}s")
    old = await registry.push("team/app", "v1")
    other = await registry.image("team/app", "another")
    gateway = await stack.gateway(registry)

    async def hold(path: str) -> None:
        # The tag was read already, and names the old manifest.
        if path.endswith(f"revisions/sha256/{old.removeprefix('sha256:')}/link"):
            reading.set()
            await read_on.wait()

    storage.read_hook = hold
    looking_up = asyncio.create_task(gateway.holds("team/app", "v1"))
    await reading.wait()
    storage.read_hook = None
    await registry.put("team/app", "v1", other)
    read_on.set()
    assert not await looking_up
    # Nobody had to be asked for that.
    assert not gateway.revocations
    assert await gateway.holds("team/app", "v1")


async def test_a_change_that_storage_refuses_leaves_nothing_marked(stack, registry, refused) -> None:
    gateway = await stack.gateway(registry)
    assert await gateway.holds("team/app", "v1")
    with refused("MANIFEST_UNKNOWN"):
        await registry.delete("team/app", "no-such-tag")
    assert len(gateway.revocations) == 1
    assert await gateway.holds("team/app", "v1")


async def test_after_a_change_of_unknown_outcome_nothing_is_kept_until_it_cannot_happen_any_more(
    stack, hooked, refused
) -> None:
    async def fail(_operation: str, path: str) -> None:
        if broken and path.endswith("current/link"):
            raise StorageError("the disk does not answer")

    broken = False
    registry = await stack.registry(hooked(fail), lease="200ms", timeout="1s")
    await registry.push("team/app", "v1")
    image = await registry.image("team/app", "another")
    gateway = await stack.gateway(registry)
    broken = True
    with refused("UNAVAILABLE"):
        await registry.put("team/app", "v1", image)
    failed = time.monotonic()
    await gateway.renew()
    assert not await gateway.holds("team/app", "v1")
    while not await gateway.holds("team/app", "v1"):
        await asyncio.sleep(0.05)
        await gateway.renew()
    assert time.monotonic() - failed >= 0.9


# Holders that do not confirm


async def test_a_silent_holder_is_waited_for_until_its_lease_has_run_out(stack, registry, logged) -> None:
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    started = time.monotonic()
    with logged() as lines:
        await registry.push("team/app", "v1", "another")
    assert LEASE / 2 < time.monotonic() - started < 3 * LEASE
    warnings = [each for each in lines if each["log_level"] == "warning"]
    assert [each["event"] for each in warnings] == [
        "a lease ran out before its gateway confirmed what changes had revoked"
    ]
    assert warnings[0]["unconfirmed"] == 1
    assert warnings[0]["peer"]
    # Its stream is closed, so that it begins anew, and nobody waits for it any more.
    async with asyncio.timeout(5):
        await gateway.ended
    started = time.monotonic()
    await registry.push("team/app", "v1", "a third")
    assert time.monotonic() - started < LEASE


async def test_a_silent_holder_cannot_hold_a_change_up_by_renewing(stack, registry) -> None:
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.push("team/app", "v1", "another"))
    await gateway.revocation()
    started = time.monotonic()
    while not pushing.done():
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            async with asyncio.timeout(LEASE / 5):
                await gateway.renew()
        await asyncio.sleep(LEASE / 10)
    assert time.monotonic() - started < 2 * LEASE
    await pushing


async def test_a_lease_whose_stream_broke_is_waited_for_until_it_has_run_out(stack, registry) -> None:
    gateway = await stack.gateway(registry)
    assert await gateway.holds("team/app", "v1")
    await gateway.renew()
    started = time.monotonic()
    await gateway.break_off()
    # The gateway may not know it yet. What it asks for from now on it may not keep.
    await registry.push("team/app", "v1", "another")
    assert LEASE / 2 < time.monotonic() - started < 3 * LEASE


async def test_a_stream_that_broke_and_had_nothing_to_keep_is_not_waited_for(stack, registry) -> None:
    gateway = await stack.gateway(registry)
    await gateway.break_off()
    started = time.monotonic()
    await registry.push("team/app", "v1", "another")
    assert time.monotonic() - started < LEASE / 2


async def test_a_released_lease_is_not_waited_for(stack, registry) -> None:
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.push("team/app", "v1", "another"))
    await gateway.revocation()
    started = time.monotonic()
    lease = gateway.lease
    await gateway.release()
    await pushing
    assert time.monotonic() - started < LEASE / 2
    assert not await gateway.holds("team/app", "v1", lease=lease)


# Callers who do not wait


async def test_a_change_that_cannot_begin_within_its_deadline_says_why_and_changes_nothing(
    stack, driver, refused
) -> None:
    registry = await stack.registry(driver, lease="3s", timeout="1s")
    await asyncio.sleep(3)
    await registry.push("team/app", "v1")
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    before = await registry.get("team/app", "v1")
    image = await registry.image("team/app", "another")
    with refused("UNAVAILABLE") as refusal:
        await registry.put("team/app", "v1", image)
    assert "has not confirmed in time; nothing was changed" in refusal.detail
    assert refusal.status == 503
    with refused("UNAVAILABLE"):
        await registry.put("team/app", "v1", image, timeout=0.5)
    assert await registry.get("team/app", "v1") == before
    # Neither now nor later: the mark is lifted, and the confirmation that comes too late is nobody's.
    assert await gateway.holds("team/app", "v1")
    for revocation in gateway.revocations:
        await gateway.confirm(revocation)
    await settle()
    assert await registry.get("team/app", "v1") == before


async def test_a_change_whose_caller_goes_away_while_it_waits_has_not_begun(stack, registry) -> None:
    gateway = await stack.gateway(registry, silent=True)
    before = await registry.get("team/app", "v1")
    image = await registry.image("team/app", "another")
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.put("team/app", "v1", image))
    revocation = await gateway.revocation()
    assert not await gateway.holds("team/app", "v1")
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)
    await until_held(gateway, "team/app", "v1")
    await gateway.confirm(revocation)
    await settle()
    assert await registry.get("team/app", "v1") == before


async def test_a_change_whose_caller_goes_away_after_it_began_stays_marked_until_it_is_through(
    stack, hooked
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_operation: str, path: str) -> None:
        if path.endswith("current/link"):
            reached.set()
            await go_on.wait()

    storage = hooked(never)
    registry = await stack.registry(storage, lease=f"{LEASE}s")
    await registry.push("team/app", "v1")
    image = await registry.image("team/app", "another")
    gateway = await stack.gateway(registry)
    storage.hook = hold
    pushing = asyncio.create_task(registry.put("team/app", "v1", image))
    await reached.wait()
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)
    await settle()
    await gateway.renew()
    assert not await gateway.holds("team/app", "v1")
    go_on.set()
    await until_held(gateway, "team/app", "v1")
    assert (await registry.get("team/app", "v1")).content == image


# The service's own life


async def test_a_service_that_starts_waits_for_the_leases_of_the_one_before(stack, driver) -> None:
    await (await stack.registry(driver, lease="0s")).push("team/app", "v1")
    registry = await stack.registry(driver, lease=f"{LEASE}s")
    started = time.monotonic()
    image = await registry.image("team/app", "another")
    gateway = await stack.gateway(registry)
    # The other one's last change may still be on its way to storage.
    assert not await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.put("team/app", "v1", image))
    # Reads, and changes that revoke nothing, go on meanwhile.
    await registry.push_blob("team/app", b"a layer")
    assert (await registry.get("team/app", "v1")).content != image
    assert not pushing.done()
    await pushing
    assert LEASE / 2 < time.monotonic() - started < 3 * LEASE
    assert not gateway.revocations
    started = time.monotonic()
    await registry.push("team/app", "v1", "a third")
    assert time.monotonic() - started < LEASE


async def test_a_change_that_cannot_wait_for_the_leases_of_before_says_so_at_once(
    stack, driver, refused
) -> None:
    registry = await stack.registry(driver, lease="5s")
    image = await registry.image("team/app")
    started = time.monotonic()
    with refused("UNAVAILABLE") as refusal:
        await registry.put("team/app", "v1", image, timeout=2)
    assert time.monotonic() - started < 1.5
    assert "has just started" in refusal.detail
    assert not await registry.has_manifest("team/app", "v1")


async def test_without_leases_nothing_is_granted_and_nothing_waits(stack, driver) -> None:
    registry = await stack.registry(driver, lease="0s")
    gateway = await stack.gateway(registry, silent=True)
    assert gateway.granted == [0]
    started = time.monotonic()
    await registry.push("team/app", "v1")
    assert not await gateway.holds("team/app", "v1")
    await registry.push("team/app", "v1", "another")
    await registry.delete("team/app", "v1")
    assert time.monotonic() - started < LEASE
    assert not gateway.revocations
    # The stream stays, so that a gateway does not come back again and again.
    assert await gateway.renew() == 0
    await gateway.release()


@pytest.mark.parametrize("lease", ["2s", "0s"])
async def test_a_stop_ends_the_streams_and_does_not_wait_for_them(stack, driver, lease: str) -> None:
    address, blob = stack.address("metadata"), await stack.blob_service(driver)
    config = parse(
        "version: 0.1\nstorage: {inmemory: {}}\n"
        f"services: {{metadata: {{addr: '{address}', lease: {lease}}}, blob: {{addr: '{blob}'}}}}\n",
        {},
    )
    stop = asyncio.Event()
    running = asyncio.create_task(SERVICE.run(config, stop))
    channel = stack.channel(address)
    assert await wait_until_serving(channel, timeout=10)
    gateway = await stack.gateway(stack.client(channel, blob, driver))
    stop.set()
    async with asyncio.timeout(5):
        await gateway.ended
        await running


async def test_a_stop_lets_the_gateways_confirm_what_changes_wait_for(stack, driver) -> None:
    address, blob = stack.address("metadata"), await stack.blob_service(driver)
    config = parse(
        "version: 0.1\nstorage: {inmemory: {}}\n"
        f"services: {{metadata: {{addr: '{address}', lease: 2s}}, blob: {{addr: '{blob}'}}}}\n",
        {},
    )
    stop = asyncio.Event()
    running = asyncio.create_task(SERVICE.run(config, stop))
    channel = stack.channel(address)
    assert await wait_until_serving(channel, timeout=10)
    registry = stack.client(channel, blob, driver)
    await registry.push("team/app", "v1")
    image = await registry.image("team/app", "another")
    gateway = await stack.gateway(registry, silent=True)
    assert await gateway.holds("team/app", "v1")
    pushing = asyncio.create_task(registry.put("team/app", "v1", image))
    revocation = await gateway.revocation()
    started = time.monotonic()
    stop.set()
    await settle()
    assert not gateway.ended.done()
    await gateway.confirm(revocation)
    await pushing
    await running
    assert time.monotonic() - started < 1.5


async def test_many_writers_readers_and_gateways_come_and_go_and_every_push_is_acknowledged(
    stack, hooked
) -> None:
    delays = random.Random(7)

    async def delay(_operation: str, _path: str) -> None:
        await asyncio.sleep(delays.choice([0, 0.001, 0.004]))

    registry = await stack.registry(hooked(delay), lease="500ms")
    digests: dict[str, str] = {}

    async def push(tag: str) -> None:
        for number in range(8):
            digests[tag] = await registry.push("team/app", tag, f"{tag}-{number}")

    async def come_and_go(number: int) -> None:
        for turn in range(4):
            gateway = await stack.gateway(registry)
            with suppress(RegistryError):
                await gateway.holds("team/app", f"v{number % 2}")
            await (gateway.break_off() if turn % 2 else gateway.release())

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(push(f"v{number}"))
        for number in range(4):
            group.create_task(come_and_go(number))
    for tag, digest in digests.items():
        assert (await registry.get("team/app", tag)).descriptor.digest == digest
