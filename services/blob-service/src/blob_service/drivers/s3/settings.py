"""What the driver is told by its section of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import SecretStr

from blob_service.drivers.s3.parts import MIB


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of `storage.s3`, already checked, under their own names; see docs/configuration.md."""

    bucket: str
    region: str
    accesskey: str | None = None
    secretkey: SecretStr | None = None
    sessiontoken: SecretStr | None = None
    regionendpoint: str | None = None
    redirectendpoint: str | None = None
    forcepathstyle: bool | None = None
    encrypt: bool = False
    keyid: str | None = None
    secure: bool = True
    skipverify: bool = False
    v4auth: bool = True
    chunksize: int = 10 * MIB
    multipartcopychunksize: int = 32 * MIB
    multipartcopymaxconcurrency: int = 100
    multipartcopythresholdsize: int = 32 * MIB
    rootdirectory: str = ""
    storageclass: str = "STANDARD"
    useragent: str = ""
    objectacl: str = "private"
    usedualstack: bool = False
    accelerate: bool = False
    usefipsendpoint: bool = False
    loglevel: str = "off"
    timeout: float = 30.0

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """The settings of a section; what it leaves out has its default."""
        return cls(**parameters)

    def endpoint(self, given: str | None) -> str | None:
        """An endpoint as a URL: one without a scheme gets that which `secure` says."""
        if not given or "://" in given:
            return given or None
        return f"{'https' if self.secure else 'http'}://{given}"

    @property
    def path_style(self) -> bool:
        """Whether the bucket stands in the path of a URL rather than in its host name.

        As in distribution 2.x, an endpoint that is given is taken for one that has no host for each bucket.
        """
        return bool(self.regionendpoint) if self.forcepathstyle is None else self.forcepathstyle

    def for_new_objects(self) -> dict[str, Any]:
        """The parameters of every call that makes an object."""
        made: dict[str, Any] = {}
        if self.encrypt:
            made["ServerSideEncryption"] = "aws:kms" if self.keyid else "AES256"
            if self.keyid:
                made["SSEKMSKeyId"] = self.keyid
        if self.storageclass != "NONE":
            made["StorageClass"] = self.storageclass
        # `private` is what S3 does without being told; buckets without ACLs take no other word, and not this.
        if self.objectacl != "private":
            made["ACL"] = self.objectacl
        return made
