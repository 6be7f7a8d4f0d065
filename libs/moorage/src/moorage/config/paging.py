"""`catalog` and `tags`: how many entries one answer may hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from moorage.config.section import Section
from moorage.config.values import Count, Integer

PAGE = 1000


class Catalog(Section):
    """`catalog`: zero and less stand for the default."""

    maxentries: Annotated[Integer, AfterValidator(lambda value: value if value > 0 else PAGE)] = PAGE


class Tags(Section):
    """`tags`: zero stands for the default."""

    maxtags: Annotated[Count, AfterValidator(lambda value: value or PAGE)] = PAGE
