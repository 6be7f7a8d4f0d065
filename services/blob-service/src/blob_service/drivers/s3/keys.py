"""Where a path's object lies in the bucket: the path below `rootdirectory`, as in distribution."""

from __future__ import annotations

from blob_service.drivers.errors import InvalidPathError
from blob_service.drivers.paths import ROOT, is_name

# S3's limit, in bytes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_MAX_KEY = 1024

# The last component of a record's key (see `record`). `~` is outside the grammar of paths, so that no file
# has this name and no listing shows it.
RECORD_NAME = "~upload"


class Keys:
    """Turns checked paths into keys and back."""

    def __init__(self, root_directory: str) -> None:
        root = root_directory.strip("/")
        self.root = f"{root}/" if root else ""

    def of(self, path: str) -> str:
        """The key of a file. Raises InvalidPathError if S3 takes no key of that length."""
        key = self.root + path[1:]
        # What is below the file has to fit, too: its record.
        if len(key) + 1 + len(RECORD_NAME) > _MAX_KEY:
            raise InvalidPathError(path)
        return key

    def prefix(self, folder: str) -> str:
        """What the keys below a folder begin with. Raises InvalidPathError."""
        return self.root if folder == ROOT else f"{self.of(folder)}/"

    def record(self, path: str) -> str:
        """The key of a file's record. Raises InvalidPathError."""
        return self.prefix(path) + RECORD_NAME

    def path(self, key: str) -> str:
        """The path of a file's key."""
        return "/" + key.removeprefix(self.root)


def is_record(key: str) -> bool:
    """Whether a key is that of a record."""
    return key.endswith(f"/{RECORD_NAME}")


def owner_of_record(key: str) -> str:
    """The key of the file that a record belongs to."""
    return key.removesuffix(f"/{RECORD_NAME}")


def is_shown(name: str) -> bool:
    """Whether a name in a folder is one that a path can have; others are not ours, or are records."""
    return is_name(name)
