"""The catalog: which repositories there are, in distribution's order.

A repository is there when its `_manifests` folder is. The order is path-wise, as if "/" came before every
other character: that is the order in which a walk meets the folders that visits each one before what is
in it. The walk starts where the page before ended and stops with the page, so that neither its time nor
its memory grows with the registry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from metadata_service.layout import MANIFESTS, ROOT
from metadata_service.objects import Folder, Objects
from moorage.reference import InvalidReferenceError, parse_name

# A page never holds more repositories, whatever its limit.
MAX_PAGE = 10_000

# Names that are read of one folder in a call.
_NAMES = 256

# Folders that are looked into in a call: few at first, for a page may end soon or lead elsewhere, then four
# times as many.
_FEWEST_FOLDERS = 4
_MOST_FOLDERS = 128

# Names of a folder that mostly tell whether it is a repository and whether others are below it: what belongs
# to a repository, and a few that come before.
_GLANCE = 8


class Catalog:
    """Lists repositories. Raises RegistryError when the storage fails."""

    def __init__(self, objects: Objects, markers: Sequence[str] = (MANIFESTS,)) -> None:
        """`markers` are the names of which a folder must have one to be listed."""
        self._objects = objects
        self._markers = markers

    async def page(self, last: str, limit: int) -> tuple[list[str], bool]:
        """The repositories after `last`, at most `limit`, and whether there are more."""
        wanted = min(limit, MAX_PAGE)
        page: list[str] = []
        if wanted <= 0:
            return page, False
        # The folders that the walk is in, the innermost last.
        path = self._resume(last)
        while path:
            node = await path[-1].next()
            if node is None:
                path.pop()
                continue
            if node.is_repository:
                if len(page) == wanted:
                    return page, True
                page.append(node.name)
            if node.leads_on:
                path.append(self._level(node.name))
        return page, False

    def _resume(self, last: str) -> list[_Level]:
        """Where the walk stands after `last`, there or not."""
        path = [self._level("")]
        for component in last.split("/") if last else ():
            path[-1].after = component
            name = _join(path[-1].name, component)
            if not _is_name(name):
                break
            path.append(self._level(name))
        return path

    def _level(self, name: str) -> _Level:
        return _Level(self._objects, self._markers, name)


@dataclass(frozen=True, slots=True)
class _Node:
    """A folder in a folder of the walk."""

    name: str
    is_repository: bool
    # Whether repositories may be below it.
    leads_on: bool


class _Level:
    """A folder that the walk is in: its children in order, from the one after `after`."""

    def __init__(self, objects: Objects, markers: Sequence[str], name: str) -> None:
        self.name = name
        self._markers = markers
        self.after = ""
        self._objects = objects
        self._names: deque[str] = deque()
        self._nodes: deque[_Node] = deque()
        self._more = True
        self._at_once = _FEWEST_FOLDERS

    async def next(self) -> _Node | None:
        """The next child that is a repository or leads to some; None when there are no more."""
        while not self._nodes:
            if self._names:
                await self._read_nodes()
            elif self._more:
                await self._read_names()
            else:
                return None
        return self._nodes.popleft()

    async def _read_names(self) -> None:
        page = await self._objects.list_folder(_path(self.name), after=self.after, limit=_NAMES)
        self._more = page.truncated and bool(page.names)
        self.after = page.names[-1] if page.names else self.after
        children = [_join(self.name, name) for name in page.names if _is_name(name)]
        self._names.extend(child for child in children if _is_name(child))

    async def _read_nodes(self) -> None:
        names = [self._names.popleft() for _ in range(min(self._at_once, len(self._names)))]
        self._at_once = min(4 * self._at_once, _MOST_FOLDERS)
        folders = await self._objects.list_folders([_path(name) for name in names], limit=_GLANCE)
        for name, folder in zip(names, folders, strict=True):
            node = _Node(
                name,
                is_repository=await self._is_repository(name, folder),
                leads_on=folder.truncated or any(_is_name(child) for child in folder.names),
            )
            if node.is_repository or node.leads_on:
                self._nodes.append(node)

    async def _is_repository(self, name: str, folder: Folder) -> bool:
        if any(marker in folder.names for marker in self._markers):
            return True
        if not folder.truncated or folder.names[-1:] > (max(self._markers),):
            return False
        return any(await self._objects.exist([f"{_path(name)}/{marker}" for marker in self._markers]))


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _path(name: str) -> str:
    return f"{ROOT}/{name}" if name else ROOT


def _is_name(text: str) -> bool:
    try:
        parse_name(text)
    except InvalidReferenceError:
        return False
    return True
