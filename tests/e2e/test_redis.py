"""The whole registry with a real Redis for its descriptors, alone and together with docker-registry."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.client import V2Client, expect
from support.engine import skopeo_copy
from support.images import make_image, write_oci_layout
from support.processes import free_port, required, run, wait_until
from support.redis import RedisServer, running_redis
from support.registry import DockerRegistry, Up, clean_environment, running_docker_registry, running_up

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "redis.yml"
STEP = "200ms"


def with_redis(server: RedisServer, **more: str) -> dict[str, str]:
    """The variables that give a registry this Redis; distribution 2 reads them too."""
    return {
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
        "REGISTRY_REDIS_ADDR": server.address,
        **{f"REGISTRY_REDIS_{step}TIMEOUT": STEP for step in ("DIAL", "READ", "WRITE")},
        **more,
    }


def members(server: RedisServer, repository: str) -> set[str]:
    return set(server.client.smembers(f"repository::{repository}::blobs"))


def calls(server: RedisServer, *commands: str) -> int:
    """How often Redis has had these commands."""
    stats = server.client.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)


@dataclass(frozen=True)
class Registry:
    """A registry and its Redis; its debug server's URL, or the docker-registry that shares both."""

    up: Up
    redis: RedisServer
    debug: str = ""
    peer: DockerRegistry | None = None


@pytest.fixture(scope="session")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder, debug = tmp_path_factory.mktemp("with-redis"), f"127.0.0.1:{free_port()}"
    with (
        running_redis(folder / "redis") as redis,
        running_up(folder / "up", with_redis(redis, REGISTRY_HTTP_DEBUG_ADDR=debug)) as up,
    ):
        yield Registry(up, redis, debug=f"http://{debug}")


@pytest.fixture
def registry(shared_registry: Registry) -> Iterator[Registry]:
    """A registry whose Redis is well, until the test does something to it."""
    yield shared_registry
    redis = shared_registry.redis
    redis.resume()
    if not redis.process.running():
        redis.start()
    redis.make_writable()


@pytest.fixture(scope="session")
def two_registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Moorage and docker-registry with one tree and one Redis."""
    folder = tmp_path_factory.mktemp("two")
    with running_redis(folder / "redis") as redis:
        # Without leases, because another registry writes to the tree: docs/leases.md.
        ours = with_redis(redis, REGISTRY_SERVICES_METADATA_LEASE="0s")
        with (
            running_up(folder / "up", ours) as up,
            running_docker_registry(up.root, folder / "peer", with_redis(redis)) as peer,
        ):
            yield Registry(up, redis, peer=peer)


@pytest.fixture
def moorage_client(two_registries: Registry) -> Iterator[V2Client]:
    with V2Client(two_registries.up.url) as client:
        yield client


@pytest.fixture
def peer_client(two_registries: Registry) -> Iterator[V2Client]:
    assert two_registries.peer is not None
    with V2Client(two_registries.peer.url) as client:
        yield client


def test_the_example_starts_and_keeps_its_password_to_itself(tmp_path: Path) -> None:
    password = "hush-5c1f"
    with running_redis(tmp_path / "redis") as redis:
        redis.command("CONFIG", "SET", "requirepass", password)
        redis.client.execute_command("AUTH", password)
        environment = {
            "REGISTRY_CONFIGURATION_PATH": str(EXAMPLE),
            "REGISTRY_REDIS_ADDRS_0": redis.address,
            "REGISTRY_REDIS_PASSWORD": password,
            "REGISTRY_HTTP_DEBUG_ADDR": f"127.0.0.1:{free_port()}",
            "REGISTRY_LOG_LEVEL": "debug",
        }
        image = make_image(40)
        with running_up(tmp_path / "up", environment) as up, V2Client(up.url) as client:
            client.push_image("team/app", "one", image)
            client.assert_holds("team/app", "one", image)
            assert members(redis, "team/app") >= {blob.digest for blob in image.blobs}
            redis.command("CONFIG", "SET", "requirepass", "another")
            redis.client.client_kill_filter(skipme=True)
            client.push_image("team/app", "two", make_image(41))
            wait_until(
                lambda: "the descriptor cache is away" in up.process.log.read_text(),
                timeout=20,
                what="the log says that Redis is away",
            )
        assert password not in up.process.log.read_text(errors="replace")


def test_the_redis_cache_without_a_redis_is_refused_in_one_line() -> None:
    environment = {
        **clean_environment(),
        "REGISTRY_STORAGE": "inmemory",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
    }
    moorage = Path(sys.executable).with_name("moorage")
    for service in ("up", "serve metadata"):
        ended = subprocess.run(
            [moorage, *service.split()], env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode not in (0, None)
        assert [line for line in ended.stderr.splitlines() if line.startswith("moorage:")] == [
            "moorage: redis: is required, with addr or addrs, where storage.cache.blobdescriptor is redis"
        ]


def _kill(server: RedisServer) -> None:
    server.kill()


def _pause(server: RedisServer) -> None:
    server.pause()


def _sleep(server: RedisServer) -> None:
    server.sleep(5)


def _read_only(server: RedisServer) -> None:
    server.make_read_only()


def _empty(server: RedisServer) -> None:
    server.command("FLUSHALL")


@pytest.mark.parametrize("trouble", [_kill, _pause, _sleep, _read_only, _empty])
def test_pushes_and_pulls_go_on_while_redis_is_in_trouble(
    registry: Registry, repository: str, tmp_path: Path, trouble: Callable[[RedisServer], None]
) -> None:
    up = registry.up
    before, during = make_image(42), make_image(43, (200_000, 100))
    layout = write_oci_layout(tmp_path / "layout", {"one": make_image(44)})
    with V2Client(up.url) as client:
        client.push_image(repository, "before", before)
        # In mid-push: some of the blobs are there, the others and the manifest are not.
        client.push_blob(repository, during.config.content)
        trouble(registry.redis)
        started = time.monotonic()
        client.push_image(repository, "during", during)
        client.assert_holds(repository, "during", during)
        client.assert_holds(repository, "before", before)
        assert not client.has_blob(repository, make_image(45).config.digest)
        expect(client.http.delete(f"/v2/{repository}/blobs/{during.layers[0].digest}"), 202)
        assert not client.has_blob(repository, during.layers[0].digest)
        assert time.monotonic() - started < 15
    skopeo_copy(f"oci:{layout}:one", f"docker://{up.address}/{repository}/skopeo:one")
    skopeo_copy(f"docker://{up.address}/{repository}/skopeo:one", f"oci:{tmp_path}/back:one")


def test_clients_notice_nothing_of_a_redis_that_comes_and_goes(registry: Registry) -> None:
    up, redis = registry.up, registry.redis
    done = threading.Event()
    failures: list[str] = []

    def push_and_pull(worker: int) -> None:
        with V2Client(up.url) as client:
            for turn in range(100):
                if done.is_set():
                    return
                image = make_image(1000 * worker + turn, (500,))
                try:
                    client.push_image(f"team/{worker}", "latest", image)
                    client.assert_holds(f"team/{worker}", "latest", image)
                except AssertionError as error:
                    failures.append(str(error))

    workers = [threading.Thread(target=push_and_pull, args=(number,)) for number in range(1, 4)]
    for each in workers:
        each.start()
    try:
        for _ in range(3):
            redis.kill()
            time.sleep(0.5)
            redis.start()
            time.sleep(0.5)
            redis.command("FLUSHALL")
            redis.pause()
            time.sleep(0.5)
            redis.resume()
            redis.make_read_only()
            time.sleep(0.3)
            redis.make_writable()
    finally:
        done.set()
        for each in workers:
            each.join(timeout=60)
    assert failures == []


def test_a_redis_that_is_away_is_in_the_health_and_takes_nothing_out_of_service(registry: Registry) -> None:
    up, redis = registry.up, registry.redis

    def health() -> dict[str, str]:
        answer = httpx.get(f"{registry.debug}/debug/health", timeout=5)
        assert answer.status_code == 200
        return answer.json()

    wait_until(lambda: health() == {}, timeout=20, what="nothing is wrong")
    redis.kill()
    wait_until(lambda: "storage is asked" in health().get("redis", ""), timeout=20, what="it is told")
    assert httpx.get(f"{up.url}/v2/", timeout=5).status_code == 200
    redis.start()
    wait_until(lambda: health() == {}, timeout=20, what="it is over")


@pytest.mark.parametrize("writer", ["docker-registry", "moorage"])
def test_each_of_two_registries_reads_what_the_other_one_has_put_into_their_redis(
    two_registries: Registry,
    moorage_client: V2Client,
    peer_client: V2Client,
    repository: str,
    writer: str,
) -> None:
    image, redis = make_image(46), two_registries.redis
    ours_writes = writer == "moorage"
    pusher, reader = (moorage_client, peer_client) if ours_writes else (peer_client, moorage_client)
    pusher.push_image(repository, "one", image)
    assert members(redis, repository) >= {blob.digest for blob in image.blobs}
    asked, written = calls(redis, "sismember"), calls(redis, "hset", "hmset", "sadd")
    for blob in image.blobs:
        assert reader.has_blob(repository, blob.digest)
    # It found the entries: it asked, and had nothing to write.
    assert calls(redis, "sismember") > asked
    assert calls(redis, "hset", "hmset", "sadd") == written
    reader.assert_holds(repository, "one", image)


@pytest.mark.parametrize("deleter", ["moorage", "docker-registry"])
def test_what_either_registry_deletes_stays_unknown_to_moorage(
    moorage_client: V2Client, peer_client: V2Client, repository: str, deleter: str
) -> None:
    """CVE-2026-35172: docker-registry 2.8 leaves a membership, and a read of B fills the rest again."""
    blob = make_image(48).layers[0]
    a, b = f"{repository}/a", f"{repository}/b"
    for name in (a, b):
        moorage_client.push_blob(name, blob.content)
        assert peer_client.has_blob(name, blob.digest)
    by = moorage_client if deleter == "moorage" else peer_client
    expect(by.http.delete(f"/v2/{a}/blobs/{blob.digest}"), 202)
    for reader in (peer_client, moorage_client):
        assert reader.has_blob(b, blob.digest)
    assert not moorage_client.has_blob(a, blob.digest)
    if deleter == "moorage":
        # Our removal leaves nothing that the other one could believe.
        assert not peer_client.has_blob(a, blob.digest)
    moorage_client.push_blob(a, blob.content)
    assert moorage_client.get_blob(a, blob.digest) == blob.content


def test_after_docker_registry_s_garbage_collection_the_same_image_can_be_pushed_again(
    tmp_path: Path,
) -> None:
    """Its collection tells no cache; clients were told "layer already exists" for what was gone."""
    with running_redis(tmp_path / "redis") as redis:
        _push_collect_and_push_again(tmp_path, redis)


def _push_collect_and_push_again(tmp_path: Path, redis: RedisServer) -> None:
    image = make_image(49)
    with running_up(tmp_path / "up", with_redis(redis)) as up, V2Client(up.url) as client:
        client.push_image("team/app", "one", image)
        for blob in image.blobs:
            assert client.has_blob("team/app", blob.digest)
        expect(client.http.delete(f"/v2/team/app/manifests/{image.manifest.digest}"), 202)
    config = tmp_path / "gc.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {up.root}}}}}\n")
    run(required("docker-registry"), "garbage-collect", config, env=clean_environment())
    assert members(redis, "team/app")
    tree = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(up.root)}
    with running_up(tmp_path / "again", with_redis(redis, **tree)) as up, V2Client(up.url) as client:
        for blob in image.blobs:
            assert not client.has_blob("team/app", blob.digest)
        client.push_image("team/app", "one", image)
        client.assert_holds("team/app", "one", image)
