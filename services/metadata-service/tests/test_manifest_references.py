from __future__ import annotations

import json

import pytest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NON_DISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
URL = "https://layers.example.com/base.tar.gz"


def descriptor(digest: str, media_type: str = OCI_LAYER, **fields) -> dict:
    return {"mediaType": media_type, "digest": digest, "size": 5, **fields}


def manifest(config: dict, *layers: dict, media_type: str = OCI_MANIFEST, **fields) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": list(layers), **fields}
    ).encode()


def index(*children: dict, media_type: str = OCI_INDEX) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": list(children)}).encode()


class TestBlobs:
    async def test_each_missing_reference_is_an_error_of_its_own(self, registry, refused, sha) -> None:
        layer = await registry.push_blob("team/app", b"here")
        missing = [sha(b"config"), sha(b"one"), sha(b"two", "sha512")]
        content = manifest(
            descriptor(missing[0], OCI_CONFIG),
            descriptor(missing[1]),
            descriptor(layer),
            descriptor(missing[2]),
            descriptor(missing[1]),
        )
        with refused("MANIFEST_BLOB_UNKNOWN") as refusal:
            await registry.put("team/app", "v1", content)
        assert refusal.details == [{"digest": digest} for digest in missing]
        assert refusal.status == 400
        assert await registry.files("team/app/_manifests") == set()

    async def test_hundreds_of_missing_references_are_answered_and_no_more_than_fit(
        self, registry, refused, sha
    ) -> None:
        config = await registry.push_blob("team/app", b"{}")
        layers = [descriptor(sha(f"{number}".encode(), "sha512")) for number in range(600)]
        with refused("MANIFEST_BLOB_UNKNOWN") as refusal:
            await registry.put("team/app", "v1", manifest(descriptor(config, OCI_CONFIG), *layers))
        assert refusal.details == [{"digest": layer["digest"]} for layer in layers[:256]]

    async def test_a_blob_of_another_repository_is_missing(self, registry, refused) -> None:
        config = await registry.push_blob("team/app", b"{}")
        layer = await registry.push_blob("team/other", b"layer")
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await registry.put("team/app", "v1", manifest(descriptor(config, OCI_CONFIG), descriptor(layer)))

    async def test_a_blob_whose_bytes_are_gone_is_missing_even_if_it_is_cached(self, start, refused) -> None:
        registry = await start(
            "storage: {inmemory: {}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}"
        )
        content = await registry.image("team/app")
        layer = json.loads(content)["layers"][0]["digest"]
        assert await registry.has_blob("team/app", layer)
        await registry.lose_bytes(layer)
        with refused("MANIFEST_BLOB_UNKNOWN") as refusal:
            await registry.put("team/app", "v1", content)
        assert refusal.details == [{"digest": layer}]

    async def test_an_artifact_with_the_empty_configuration_needs_it_as_a_blob(
        self, registry, refused
    ) -> None:
        empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        content = manifest(
            descriptor(empty, EMPTY), descriptor(empty, EMPTY), artifactType="application/x.test"
        )
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await registry.put("team/app", "v1", content)
        assert await registry.push_blob("team/app", b"{}") == empty
        await registry.put("team/app", "v1", content)

    async def test_the_size_that_a_descriptor_states_is_not_compared(self, registry) -> None:
        # As in distribution: what was pushed there must be accepted here.
        config = await registry.push_blob("team/app", b"a longer configuration")
        await registry.put("team/app", "v1", manifest(descriptor(config, OCI_CONFIG)))

    async def test_a_manifest_without_layers_is_accepted(self, registry) -> None:
        config = await registry.push_blob("team/app", b"{}")
        for layers in ([], None):
            document = {"schemaVersion": 2, "config": descriptor(config, OCI_CONFIG), "layers": layers}
            await registry.put("team/app", "v1", json.dumps(document).encode())


class TestIndexes:
    async def test_every_child_must_be_a_manifest_of_the_repository(self, registry, refused) -> None:
        here = await registry.push("team/app", "v1")
        elsewhere = await registry.push("team/other", "other")
        layer = await registry.push_blob("team/app", b"no manifest")
        content = index(*(descriptor(digest, OCI_MANIFEST) for digest in (here, elsewhere, layer)))
        with refused("MANIFEST_BLOB_UNKNOWN") as refusal:
            await registry.put("team/app", "index", content, OCI_INDEX)
        assert refusal.details == [{"digest": elsewhere}, {"digest": layer}]

    async def test_a_child_whose_bytes_are_gone_is_missing(self, registry, refused) -> None:
        child = await registry.push("team/app", "v1")
        await registry.lose_bytes(child)
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await registry.put("team/app", "index", index(descriptor(child, OCI_MANIFEST)), OCI_INDEX)

    async def test_an_index_may_hold_indexes_or_nothing(self, registry) -> None:
        for tag, content in (("empty", index()), ("null", b'{"schemaVersion":2,"manifests":null}')):
            inner = (await registry.put("team/app", tag, content, OCI_INDEX)).descriptor.digest
            await registry.put("team/app", "outer", index(descriptor(inner, OCI_INDEX)), OCI_INDEX)

    async def test_the_index_of_a_build_cache_names_blobs(self, registry, refused, sha) -> None:
        layer = await registry.push_blob("team/app", b"cached layer")
        config = await registry.push_blob("team/app", b"cache config")
        children = [descriptor(layer), descriptor(config, "application/vnd.buildkit.cacheconfig.v0")]
        await registry.put("team/app", "cache", index(*children), OCI_INDEX)
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await registry.put("team/app", "cache", index(descriptor(sha(b"not here"))), OCI_INDEX)

    async def test_platforms_none_asks_for_no_child(self, start, sha) -> None:
        registry = await start("validation: {manifests: {indexes: {platforms: none}}}")
        await registry.put("team/app", "v1", index(descriptor(sha(b"1"), OCI_MANIFEST)), OCI_INDEX)

    async def test_platforms_list_asks_for_the_children_of_those_platforms(self, start, refused, sha) -> None:
        registry = await start(
            "validation: {manifests: {indexes: {platforms: list, platformlist: "
            "[{architecture: amd64, os: linux}, {architecture: arm64, os: linux}]}}}"
        )

        def child(name: str, architecture: str, os: str = "linux") -> dict:
            platform = {"architecture": architecture, "os": os}
            return descriptor(sha(name.encode()), DOCKER_MANIFEST, platform=platform)

        needless = [
            child("s390x", "s390x"),
            child("windows", "amd64", "windows"),
            descriptor(sha(b"no platform"), DOCKER_MANIFEST),
        ]
        await registry.put("team/app", "v1", index(*needless, media_type=DOCKER_LIST), DOCKER_LIST)
        needed = child("arm", "arm64")
        with refused("MANIFEST_BLOB_UNKNOWN") as refusal:
            await registry.put(
                "team/app", "v1", index(*needless, needed, media_type=DOCKER_LIST), DOCKER_LIST
            )
        assert refusal.details == [{"digest": needed["digest"]}]


class TestSubjects:
    async def test_a_subject_need_not_exist(self, registry, sha) -> None:
        content = await registry.image("team/app", subject=descriptor(sha(b"later"), OCI_MANIFEST))
        assert (await registry.put("team/app", "v1", content)).subject == sha(b"later")

    @pytest.mark.parametrize("subject", [{}, [], "sha256:1", {"digest": "sha256:1"}, 1])
    async def test_a_subject_must_be_a_descriptor(self, registry, refused, subject) -> None:
        content = await registry.image("team/app", subject=subject)
        with refused("MANIFEST_INVALID") as refusal:
            await registry.put("team/app", "v1", content)
        assert "subject" in refusal.detail["reason"]

    async def test_docker_manifests_have_no_subject(self, registry, sha) -> None:
        subject = descriptor(sha(b"subject"), DOCKER_MANIFEST)
        content = await registry.image("team/app", media_type=DOCKER_MANIFEST, subject=subject)
        assert (await registry.put("team/app", "v1", content, DOCKER_MANIFEST)).subject == ""
        assert await registry.referrers("team/app", sha(b"subject")) == []


class TestURLs:
    async def put(self, registry, media_type: str, urls: list[str] | None, *, here: bool = False) -> None:
        """Push a manifest with one layer that has these URLs, and whose bytes are here or not."""
        config = await registry.push_blob("team/app", b"{}")
        layer = await registry.push_blob("team/app", b"a layer")
        layer = descriptor(layer if here else f"sha256:{0:064}", media_type)
        if urls is not None:
            layer["urls"] = urls
        kind = DOCKER_MANIFEST if media_type == FOREIGN else OCI_MANIFEST
        content = manifest(descriptor(config, DOCKER_CONFIG), layer, media_type=kind)
        await registry.put("team/app", "v1", content, kind)

    @pytest.mark.parametrize("media_type", [FOREIGN, NON_DISTRIBUTABLE, OCI_LAYER])
    async def test_no_url_is_permitted_by_default(self, registry, refused, media_type) -> None:
        with refused("MANIFEST_INVALID") as refusal:
            await self.put(registry, media_type, [URL], here=True)
        assert refusal.status == 400
        assert refusal.detail["url"] == URL

    async def test_a_foreign_layer_needs_a_url_and_no_bytes(self, start, refused) -> None:
        registry = await start(
            "validation: {manifests: {urls: {allow: ['^https://layers\\.example\\.com/']}}}"
        )
        await self.put(registry, FOREIGN, [URL])
        for none in ([], None):
            with refused("MANIFEST_INVALID"):
                await self.put(registry, FOREIGN, none, here=True)

    async def test_a_non_distributable_layer_needs_a_url_or_bytes(self, start, refused) -> None:
        registry = await start(
            "validation: {manifests: {urls: {allow: ['^https://layers\\.example\\.com/']}}}"
        )
        await self.put(registry, NON_DISTRIBUTABLE, [URL])
        await self.put(registry, NON_DISTRIBUTABLE, None, here=True)
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await self.put(registry, NON_DISTRIBUTABLE, None)

    async def test_an_ordinary_layer_needs_its_bytes_also_with_a_url(self, start, refused) -> None:
        registry = await start("validation: {manifests: {urls: {allow: ['^https://']}}}")
        await self.put(registry, OCI_LAYER, [URL], here=True)
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await self.put(registry, OCI_LAYER, [URL])

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "ftp://layers.example.com/a",
            "https://layers.example.com/a#part",
            "layers.example.com/a",
            "https://",
            "file:///etc/passwd",
            "https://layers.example.com/a b",
            "https://layers.example.com/a\n",
            "https://[bad/",
            "\thttps://layers.example.com/a",
            "javascript://layers.example.com/",
        ],
    )
    async def test_a_url_must_be_plain_http_or_https(self, start, refused, url) -> None:
        registry = await start("validation: {manifests: {urls: {allow: ['.*']}}}")
        with refused("MANIFEST_INVALID"):
            await self.put(registry, FOREIGN, [URL, url])

    @pytest.mark.parametrize(
        ("url", "permitted"),
        [(URL, True), ("https://layers.example.com/secret/x", False), ("https://other.example.com/x", False)],
    )
    async def test_a_url_must_be_allowed_and_not_denied(self, start, refused, url, permitted) -> None:
        registry = await start(
            "validation: {manifests: {urls: "
            "{allow: ['^https://layers\\.example\\.com/'], deny: ['/secret/']}}}"
        )
        if permitted:
            await self.put(registry, FOREIGN, [url])
        else:
            with refused("MANIFEST_INVALID"):
                await self.put(registry, FOREIGN, [url])

    async def test_with_denials_alone_every_other_url_is_permitted(self, start, refused) -> None:
        registry = await start("validation: {manifests: {urls: {deny: ['^http://']}}}")
        await self.put(registry, FOREIGN, [URL])
        with refused("MANIFEST_INVALID"):
            await self.put(registry, FOREIGN, [URL, "http://layers.example.com/"])


async def test_disabled_validation_asks_for_no_reference_and_permits_any_url(start, refused, sha) -> None:
    registry = await start("validation: {disabled: true}")
    layer = descriptor(sha(b"nowhere"), FOREIGN, urls=["ftp://anywhere"])
    await registry.put("team/app", "v1", manifest(descriptor(sha(b"config"), OCI_CONFIG), layer))
    await registry.put("team/app", "v2", index(descriptor(sha(b"child"), OCI_MANIFEST)), OCI_INDEX)
    with refused("MANIFEST_INVALID"):
        await registry.put("team/app", "v3", b"{}")


class TestClasses:
    async def put(
        self, registry, config_type: str, kind: str = DOCKER_MANIFEST, granted_class: str = ""
    ) -> None:
        config = await registry.push_blob("team/app", b"{}")
        content = manifest(descriptor(config, config_type), media_type=kind)
        await registry.put("team/app", "v1", content, kind, granted_class=granted_class)

    async def test_without_a_policy_every_class_is_allowed(self, registry) -> None:
        await self.put(registry, "application/vnd.docker.plugin.v1+json", granted_class="image")
        await self.put(registry, "application/vnd.anything", OCI_MANIFEST)

    async def test_a_class_that_is_not_listed_is_denied(self, start, refused) -> None:
        registry = await start("policy: {repository: {classes: [image]}}")
        await self.put(registry, DOCKER_CONFIG)
        await self.put(registry, OCI_CONFIG, OCI_MANIFEST)
        with refused("DENIED") as refusal:
            await self.put(registry, "application/vnd.docker.plugin.v1+json")
        assert refusal.status == 403
        assert refusal.message == "registry does not allow plugin manifest"

    async def test_a_class_that_nobody_knows_is_denied(self, start, refused) -> None:
        registry = await start("policy: {repository: {classes: [image, plugin]}}")
        with refused("DENIED"):
            await self.put(registry, "application/vnd.anything", OCI_MANIFEST)

    async def test_the_class_must_be_the_one_that_the_caller_was_granted(self, start, refused) -> None:
        registry = await start("policy: {repository: {classes: [image, plugin]}}")
        await self.put(registry, "application/vnd.docker.plugin.v1+json", granted_class="plugin")
        with refused("DENIED") as refusal:
            await self.put(registry, "application/vnd.docker.plugin.v1+json", granted_class="image")
        assert refusal.message == "repository not authorized for plugin manifest"

    async def test_indexes_have_no_class(self, start) -> None:
        registry = await start("policy: {repository: {classes: [plugin]}}")
        await registry.put("team/app", "v1", index(), OCI_INDEX, granted_class="image")
