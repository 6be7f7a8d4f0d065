"""The URLs that answers hold: of a manifest, of a blob, of an upload.

Their origin is `http.host` when it is set. Otherwise it is what the client asked for: the scheme and host
that a trusted proxy forwards, else the connection's own scheme and the Host header. `http.relativeurls`
leaves the origin out. What stands before `/v2/` in the request's path is kept.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from api_gateway.forwarded import FORWARDED_NAMES, Trust, forwarded_origin, is_host
from api_gateway.headers import Headers
from moorage.config import Configuration

API_ROOT = "/v2/"


class URLBuilder:
    """Builds the URLs for one request: `root` is origin and prefix, without the closing `/v2/`."""

    __slots__ = ("_root",)

    def __init__(self, root: str) -> None:
        self._root = root

    def manifest(self, name: str, digest: str) -> str:
        """A manifest by its digest."""
        return f"{self._root}/v2/{name}/manifests/{digest}"

    def blob(self, name: str, digest: str) -> str:
        """A blob by its digest."""
        return f"{self._root}/v2/{name}/blobs/{digest}"

    def upload(self, name: str, upload_id: str, state: str) -> str:
        """An upload, with the signed state that its next request needs."""
        return f"{self._root}/v2/{name}/blobs/uploads/{upload_id}?_state={quote(state, safe='')}"


class Origins:
    """Finds the origin for each request, by the rules above."""

    def __init__(self, *, host: str | None, relative: bool, prefix: str, trusts: Trust) -> None:
        self._fixed = _root_of(host) if host else None
        self._relative = relative
        self._prefix = prefix.rstrip("/")
        self._trusts = trusts

    @classmethod
    def of(cls, config: Configuration, trusts: Trust) -> Origins:
        """The rules that the configuration sets; `trusts` is `http.trusts` or as good."""
        http = config.http
        return cls(host=http.host, relative=http.relativeurls, prefix=http.prefix, trusts=trusts)

    def urls(self, *, peer: str | None, scheme: str, headers: Headers) -> URLBuilder:
        """The URL builder for a request from `peer` (an IP address, None on a unix socket) over `scheme`.

        A request that names no usable host gets URLs without an origin.
        """
        if self._relative:
            return URLBuilder(self._prefix)
        if self._fixed is not None:
            return URLBuilder(self._fixed)
        return URLBuilder(self._asked(peer, scheme, headers) + self._prefix)

    def root(self, *, peer: str | None, scheme: str, headers: Headers) -> str:
        """What stands before the path in the URL of something outside `http.prefix`, also with relative URLs.

        `http.host`, or the origin that the client asked; "" when the request names no usable host.
        """
        return self._fixed if self._fixed is not None else self._asked(peer, scheme, headers)

    def _asked(self, peer: str | None, scheme: str, headers: Headers) -> str:
        host = headers.get(b"host") or ""
        if any(name in headers for name in FORWARDED_NAMES) and self._trusts(peer):
            forwarded = forwarded_origin(headers)
            scheme = forwarded.scheme or scheme
            host = forwarded.host or host
        return f"{scheme}://{host}" if is_host(host) else ""


def _root_of(host: str) -> str:
    """`http.host`, which may have a path of its own, without a slash at its end."""
    parts = urlsplit(host)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
