"""Tags, catalog and referrers over HTTP."""

from __future__ import annotations

import re
import uuid

import httpx
import pytest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ABSENT = "sha256:" + "0" * 64


def pages(registry, path: str, key: str) -> list[list[str]]:
    """The pages from `path` on, by their links."""
    found: list[list[str]] = []
    while path:
        answer = registry.client.get(path)
        assert answer.status_code == 200
        found.append(answer.json()[key])
        match = re.fullmatch(r'<([^>]*)>; rel="next"', answer.headers.get("link", ""))
        path = match[1] if match else ""
        assert len(found) < 50
    return found


def code_of(answer: httpx.Response) -> str:
    return answer.json()["errors"][0]["code"]


@pytest.fixture(scope="module")
def tagged(registry) -> str:
    """A repository with seven tags."""
    repository = f"tagged/{uuid.uuid4().hex}"
    content = registry.image(repository)
    for tag in ["b", "a", "c.1", "C", "c-1", "_x", "10"]:
        assert registry.put_manifest(repository, tag, content).status_code == 201
    return repository


TAGS = ["10", "C", "_x", "a", "b", "c-1", "c.1"]


def test_all_tags_are_listed_in_byte_order(registry, tagged: str) -> None:
    answer = registry.client.get(f"/v2/{tagged}/tags/list")
    assert answer.json() == {"name": tagged, "tags": TAGS}
    assert "link" not in answer.headers


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 100])
def test_the_pages_of_tags_together_are_all_tags(registry, tagged: str, n: int) -> None:
    found = pages(registry, f"/v2/{tagged}/tags/list?n={n}", "tags")
    assert [tag for page in found for tag in page] == TAGS
    assert all(len(page) <= n for page in found)


def test_tags_after_one_that_is_not_there_are_listed(registry, tagged: str) -> None:
    assert registry.client.get(f"/v2/{tagged}/tags/list?last=aa").json()["tags"] == ["b", "c-1", "c.1"]
    assert registry.client.get(f"/v2/{tagged}/tags/list?last=zz&n=3").json()["tags"] == []


def test_no_tags_are_listed_for_zero_of_them(registry, tagged: str) -> None:
    answer = registry.client.get(f"/v2/{tagged}/tags/list?n=0")
    assert (answer.json()["tags"], answer.headers.get("link")) == ([], None)


def test_a_link_is_relative_at_the_path_as_it_was_written(registry, tagged: str) -> None:
    path = f"/v2/{tagged}/tags/list".replace("tagged", "tagge%64")
    answer = registry.client.get(f"{path}?n=5&unrelated=1&n=2")
    assert answer.headers["link"] == f'<{path}?n=5&last=b>; rel="next"'


def test_a_page_of_tags_is_cut_to_the_configured_size(start_registry, repository: str) -> None:
    registry = start_registry(tags={"maxtags": 2})
    content = registry.image(repository)
    for tag in "abc":
        registry.put_manifest(repository, tag, content)
    path = f"/v2/{repository}/tags/list"
    for n in ("3", "2147483648", "9" * 400):
        answer = registry.client.get(path, params={"n": n})
        assert answer.json()["tags"] == ["a", "b"]
        assert answer.headers["link"] == f'<{path}?n=2&last=b>; rel="next"'
    assert registry.client.get(path).json()["tags"] == ["a", "b", "c"]


def test_a_repository_without_tags_has_an_empty_list(registry, repository: str) -> None:
    digest, _ = registry.push_image(repository, "only")
    assert digest
    registry.client.delete(f"/v2/{repository}/manifests/only")
    answer = registry.client.get(f"/v2/{repository}/tags/list")
    assert (answer.status_code, answer.json()["tags"]) == (200, [])


@pytest.mark.parametrize("n", ["-1", "x", "1e9", "+1", "%2B1", "0x1", "1.5", "%D9%A3"])
@pytest.mark.parametrize(
    "path", ["/v2/{tagged}/tags/list", "/v2/_catalog", "/v2/{tagged}/referrers/" + ABSENT]
)
def test_a_page_size_that_is_no_number_is_refused(registry, tagged: str, path: str, n: str) -> None:
    answer = registry.client.get(f"{path.format(tagged=tagged)}?n={n}")
    assert (answer.status_code, code_of(answer)) == (400, "PAGINATION_NUMBER_INVALID")
    assert "n" in answer.json()["errors"][0]["detail"]


@pytest.fixture(scope="module")
def catalog(start_registry) -> tuple[object, list[str]]:
    """A registry of its own, with repositories whose names are prefixes of each other."""
    registry = start_registry(catalog={"maxentries": 5})
    names = ["a", "a-b", "a/b", "a/b/c", "a.b", "b", "a/b-c", "b/a"]
    for name in names:
        registry.push_image(name)
    return registry, sorted(names, key=lambda name: name.split("/"))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_pages_of_the_catalog_together_are_all_repositories(catalog, n: int) -> None:
    registry, names = catalog
    found = pages(registry, f"/v2/_catalog?n={n}", "repositories")
    assert [name for page in found for name in page] == names
    assert all(len(page) <= n for page in found)


def test_the_catalogs_page_is_never_larger_than_configured(catalog) -> None:
    registry, names = catalog
    answer = registry.client.get("/v2/_catalog")
    assert answer.json()["repositories"] == names[:5]
    assert (
        answer.headers["link"] == "<" + f'/v2/_catalog?n=5&last={names[4].replace("/", "%2F")}>; rel="next"'
    )
    for n in ("6", "1001", "2147483648", "9" * 400):
        refused = registry.client.get("/v2/_catalog", params={"n": n})
        assert (refused.status_code, code_of(refused)) == (400, "PAGINATION_NUMBER_INVALID")


def test_past_the_end_of_the_catalog_there_is_an_empty_list(catalog) -> None:
    registry, _ = catalog
    for query in ("last=zzz", "n=0", "n=3&last=zzz"):
        answer = registry.client.get(f"/v2/_catalog?{query}")
        assert (answer.json(), answer.headers.get("link")) == ({"repositories": []}, None)


@pytest.fixture(scope="module")
def referred(registry) -> tuple[str, str, list[str]]:
    """A repository, a manifest in it and the digests of its three referrers."""
    repository = f"referred/{uuid.uuid4().hex}"
    subject, content = registry.push_image(repository)
    digests = []
    for kind in ("sbom", "signature", "sbom"):
        digest, _ = registry.push_image(
            repository,
            kind + uuid.uuid4().hex[:8],
            artifactType=f"application/vnd.test.{kind}",
            annotations={"kind": kind},
            subject={"mediaType": MANIFEST, "digest": subject, "size": len(content)},
        )
        digests.append(digest)
    return repository, subject, digests


def test_referrers_are_listed_as_an_index(registry, referred) -> None:
    repository, subject, digests = referred
    answer = registry.client.get(f"/v2/{repository}/referrers/{subject}")
    assert answer.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
    index = answer.json()
    assert (index["schemaVersion"], index["mediaType"]) == (2, answer.headers["content-type"])
    assert sorted(entry["digest"] for entry in index["manifests"]) == sorted(digests)
    entry = next(entry for entry in index["manifests"] if entry["digest"] == digests[1])
    assert entry["annotations"] == {"kind": "signature"}
    assert entry["mediaType"] == MANIFEST
    assert entry["size"] > 0
    assert "oci-filters-applied" not in answer.headers


def test_referrers_are_filtered_by_artifact_type(registry, referred) -> None:
    repository, subject, digests = referred
    query = {"artifactType": "application/vnd.test.signature"}
    answer = registry.client.get(f"/v2/{repository}/referrers/{subject}", params=query)
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [digests[1]]
    assert answer.headers["oci-filters-applied"] == "artifactType"


def test_the_pages_of_referrers_keep_the_filter(registry, referred) -> None:
    repository, subject, digests = referred
    path = f"/v2/{repository}/referrers/{subject}?n=1&artifactType=application%2Fvnd.test.sbom"
    found = pages(registry, path, "manifests")
    listed = [entry["digest"] for page in found for entry in page]
    assert listed == sorted([digests[0], digests[2]])


def test_nothing_refers_to_what_is_not_there(registry, repository: str) -> None:
    answer = registry.client.get(f"/v2/{repository}/referrers/{ABSENT}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])
