"""A bucket at the run's S3 endpoint, as the tests look at it: with botocore, past the driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session
from pydantic import SecretStr

from support.ceph import S3Access


@dataclass(frozen=True)
class TestBucket:
    """One bucket, which is made when it is first asked for."""

    # Its name begins like that of a test class.
    __test__ = False

    access: S3Access
    name: str

    def client(self) -> Any:
        """A botocore client; whoever takes it closes it."""
        return get_session().create_client(
            "s3",
            endpoint_url=self.access.endpoint,
            region_name=self.access.region,
            aws_access_key_id=self.access.access_key,
            aws_secret_access_key=self.access.secret_key,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def create(self) -> TestBucket:
        """Make the bucket; nothing happens if it is there."""
        client = self.client()
        try:
            client.create_bucket(Bucket=self.name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
        finally:
            client.close()
        return self

    def parameters(self, root_directory: str, **more: Any) -> dict[str, Any]:
        """The parameters of a driver that keeps everything below a folder of the bucket."""
        return {
            "regionendpoint": self.access.endpoint,
            "region": self.access.region,
            "bucket": self.name,
            "accesskey": self.access.access_key,
            "secretkey": SecretStr(self.access.secret_key),
            "rootdirectory": root_directory,
            **more,
        }

    def section(self, root_directory: str, **more: Any) -> dict[str, Any]:
        """The same as a section of a configuration file."""
        return {**self.parameters(root_directory, **more), "secretkey": self.access.secret_key}

    def objects(self, prefix: str = "") -> dict[str, int]:
        """Size by key of what lies below a prefix."""
        client = self.client()
        try:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}
        finally:
            client.close()

    def empty(self, prefix: str) -> None:
        """Remove all that lies below a prefix, and abort the uploads there."""
        client = self.client()
        try:
            for key in self.objects(prefix):
                client.delete_object(Bucket=self.name, Key=key)
            for key, upload in self.uploads(prefix):
                client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)
        finally:
            client.close()

    def uploads(self, prefix: str = "") -> list[tuple[str, str]]:
        """Key and id of each multipart upload that is under way below a prefix."""
        client = self.client()
        try:
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
            return [(each["Key"], each["UploadId"]) for page in pages for each in page.get("Uploads", [])]
        finally:
            client.close()
