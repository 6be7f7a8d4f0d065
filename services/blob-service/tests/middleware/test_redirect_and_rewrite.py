from __future__ import annotations

import pytest

from blob_service.drivers.interface import RedirectRequest

GET = RedirectRequest("GET")


@pytest.mark.parametrize(
    ("baseurl", "url"),
    [
        ("https://cdn.example", "https://cdn.example/docker/data"),
        ("https://cdn.example/", "https://cdn.example/docker/data"),
        ("http://cdn.example:8080/v2/base/", "http://cdn.example:8080/v2/base/docker/data"),
    ],
)
async def test_a_redirect_goes_to_the_path_below_the_base(folder, wrapped, baseurl: str, url: str) -> None:
    driver = wrapped(folder, f"{{name: redirect, options: {{baseurl: '{baseurl}'}}}}")
    assert await driver.redirect_url(GET, "/docker/data") == url
    assert await driver.redirect_url(RedirectRequest("HEAD", "10.0.0.1"), "/docker/data") == url


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ("", "https://s3.example/bucket/root%20folder/data?X-Amz-Signature=GET"),
        ("scheme: http", "http://s3.example/bucket/root%20folder/data?X-Amz-Signature=GET"),
        (
            "host: 'edge.example:8443'",
            "https://edge.example:8443/bucket/root%20folder/data?X-Amz-Signature=GET",
        ),
        ("trimpathprefix: /bucket", "https://s3.example/root%20folder/data?X-Amz-Signature=GET"),
        ("trimpathprefix: /bucket/", "https://s3.example/root%20folder/data?X-Amz-Signature=GET"),
        ("trimpathprefix: /other", "https://s3.example/bucket/root%20folder/data?X-Amz-Signature=GET"),
        (
            "scheme: http, host: edge, trimpathprefix: /bucket",
            "http://edge/root%20folder/data?X-Amz-Signature=GET",
        ),
    ],
)
async def test_a_rewrite_changes_only_the_parts_it_names(bucket, wrapped, options: str, url: str) -> None:
    driver = wrapped(bucket, f"{{name: rewrite, options: {{{options}}}}}")
    assert await driver.redirect_url(GET, "/data") == url


async def test_where_the_driver_redirects_nowhere_there_is_nothing_to_rewrite(folder, wrapped) -> None:
    driver = wrapped(folder, "{name: rewrite, options: {host: edge.example}}")
    assert await driver.redirect_url(GET, "/data") is None
