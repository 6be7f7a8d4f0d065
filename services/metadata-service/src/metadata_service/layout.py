"""Where a repository's names lie: distribution's storage layout v2, path for path.

    /docker/registry/v2/repositories/<name>/
        _layers/<alg>/<hex>/link _manifests/revisions/<alg>/<hex>/link _manifests/tags/<tag>/current/link
        _manifests/tags/<tag>/index/<alg>/<hex>/link _manifests/referrers/<subject alg>/<subject
        hex>/<alg>/<hex>/link  (not distribution's)

A link's content is a digest, without a newline.
"""

from __future__ import annotations

from dataclasses import dataclass

from moorage.digest import Digest

ROOT = "/docker/registry/v2/repositories"

LAYERS = "_layers"
MANIFESTS = "_manifests"
LINK = "link"
# Below a tag's folder; a tag is there as soon as this is.
CURRENT_LINK = "current/link"


def _address(digest: Digest) -> str:
    return f"{digest.algorithm}/{digest.hex}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's paths. `name` has passed `moorage.reference.parse_name`, tags `parse_tag`."""

    name: str

    @property
    def folder(self) -> str:
        """All that the repository has."""
        return f"{ROOT}/{self.name}"

    @property
    def layers(self) -> str:
        """The folder of blob links."""
        return f"{self.folder}/{LAYERS}"

    @property
    def manifests(self) -> str:
        """The folder whose existence makes it a repository of the catalog."""
        return f"{self.folder}/{MANIFESTS}"

    @property
    def tags(self) -> str:
        """The folder of tags."""
        return f"{self.manifests}/tags"

    def layer_link(self, digest: Digest) -> str:
        """The link that lets the repository read a blob."""
        return f"{self.layers}/{_address(digest)}/{LINK}"

    def revision_link(self, digest: Digest) -> str:
        """The link that makes a blob one of the repository's manifests."""
        return f"{self.revisions}/{_address(digest)}/{LINK}"

    def tag(self, tag: str) -> str:
        """A tag's folder."""
        return f"{self.tags}/{tag}"

    def tag_current(self, tag: str) -> str:
        """The link to the manifest that a tag names."""
        return f"{self.tag(tag)}/{CURRENT_LINK}"

    def tag_indexes(self, tag: str, algorithm: str) -> str:
        """The folder of what a tag names or once named, by digests of one algorithm."""
        return f"{self.tag(tag)}/index/{algorithm}"

    def tag_index(self, tag: str, digest: Digest) -> str:
        """The link to a manifest that a tag names or once named."""
        return f"{self.tag_indexes(tag, digest.algorithm)}/{digest.hex}/{LINK}"

    @property
    def revisions(self) -> str:
        """The folder of manifests."""
        return f"{self.manifests}/revisions"

    def referrers(self, subject: Digest, algorithm: str) -> str:
        """The folder of a subject's referrers whose digests are of one algorithm."""
        return f"{self.manifests}/referrers/{_address(subject)}/{algorithm}"

    def referrer_link(self, subject: Digest, referrer: Digest) -> str:
        """The entry of a manifest among its subject's referrers."""
        return f"{self.referrers(subject, referrer.algorithm)}/{referrer.hex}/{LINK}"
