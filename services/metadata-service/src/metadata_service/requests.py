"""What a request names, checked: nothing that the grammar refuses reaches a path."""

from __future__ import annotations

from collections.abc import Iterable

from metadata_service.layout import Repository
from moorage.digest import Digest, InvalidDigestError
from moorage.errors import ErrorCode, RegistryError
from moorage.globs import InvalidGlobError, parse_glob
from moorage.reference import InvalidReferenceError, parse_name, parse_tag
from moorage.v1 import metadata_pb2


def repository_of(name: str) -> Repository:
    """A repository; raises RegistryError (NAME_INVALID)."""
    try:
        return Repository(parse_name(name))
    except InvalidReferenceError as error:
        raise RegistryError(ErrorCode.NAME_INVALID, {"reason": str(error)[:400]}) from error


def digest_of(text: str) -> Digest:
    """A digest; raises RegistryError (DIGEST_INVALID)."""
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise RegistryError(ErrorCode.DIGEST_INVALID, {"reason": str(error)[:400]}) from error


def tag_of(text: str) -> str:
    """A tag; raises RegistryError (TAG_INVALID)."""
    try:
        return parse_tag(text)
    except InvalidReferenceError as error:
        detail = {"reason": str(error)[:400]}
        raise RegistryError(ErrorCode.TAG_INVALID, detail, message="invalid tag") from error


def reference_of(reference: metadata_pb2.Reference) -> Digest | str:
    """A digest or a tag; raises RegistryError (DIGEST_INVALID, TAG_INVALID)."""
    match reference.WhichOneof("kind"):
        case "digest":
            return digest_of(reference.digest)
        case "tag":
            return tag_of(reference.tag)
    raise RegistryError(ErrorCode.TAG_INVALID, message="no tag or digest specified")


def globs_of(texts: Iterable[str]) -> list[str]:
    """Globs over repositories' names; raises RegistryError (NAME_INVALID)."""
    try:
        return [parse_glob(text) for text in texts]
    except InvalidGlobError as error:
        raise RegistryError(ErrorCode.NAME_INVALID, {"reason": str(error)[:400]}) from error


def page_limit(limit: int) -> int:
    """A page's limit; raises RegistryError (PAGINATION_NUMBER_INVALID) if it is negative."""
    if limit < 0:
        raise RegistryError(ErrorCode.PAGINATION_NUMBER_INVALID, {"n": limit})
    return limit
