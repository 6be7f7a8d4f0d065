"""What every section of the configuration has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A frozen map with known keys: an unknown key is an error; `key:` with nothing after it is absent."""

    # Where distribution keeps a plain map, an environment variable may bring in a key that is not known (and
    # is then an error, as it would be in the document); elsewhere such a variable is left aside with a
    # warning.
    open_to_environment: ClassVar[bool] = False

    # Names that environment variables use for a key beside the key's own: distribution matches them with the
    # names in its source, which differ here.
    environment_names: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_absent(cls, given: Any) -> Any:
        if given is None:
            return {}
        if isinstance(given, dict):
            return {key: value for key, value in given.items() if value is not None}
        return given
