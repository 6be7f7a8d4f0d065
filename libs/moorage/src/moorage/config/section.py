"""What every section of the configuration has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A map with known keys. It cannot be changed, an unknown key is an error, and `key:` with nothing is absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_absent(cls, given: Any) -> Any:
        if given is None:
            return {}
        if isinstance(given, dict):
            return {key: value for key, value in given.items() if value is not None}
        return given
