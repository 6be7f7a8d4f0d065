"""The catalog: which repositories there are, in distribution's order.

A repository is there when its `_manifests` folder is. The order is path-wise, as if "/" came before every
other character: that is the order in which a walk meets the folders that visits each one before what is
in it. The walk starts where the page before ended and stops with the page, so that neither its time nor
its memory grows with the registry.

A walk for some repositories among many (`sieve`) leaves out the folders that cannot lead to one. It may still
look at many and find few: then it stops before its page is full, and says where it stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from metadata_service.layout import MANIFESTS, ROOT
from metadata_service.objects import Folder, Objects
from metadata_service.sieve import Sieve
from moorage.reference import InvalidReferenceError, parse_name

# A page never holds more repositories, whatever its limit.
MAX_PAGE = 10_000

# Names that are read of one folder in a call.
_NAMES = 256

# Folders that a walk looks into in a call: few at first, for a page may end soon or lead elsewhere, then
# four times as many.
_FEWEST_FOLDERS = 16
_MOST_FOLDERS = 128

# Names of a folder that mostly tell whether it is a repository, and which others are below it.
_GLANCE = 64

# Names that a walk for some repositories reads in a call, and folders that it looks into, about, at most.
MOST_LOOKS = 20_000

# Greater than whatever a component of a name begins with: what stands below a folder ends before this.
_END = "~"


@dataclass(frozen=True, slots=True)
class CatalogPage:
    """Repositories, and whether there are more after them.

    `position` is where a walk that gave up stands, to be given as `last`; "" for one that did not.
    """

    repositories: list[str]
    more: bool = False
    position: str = ""


class Catalog:
    """Lists repositories. Raises RegistryError when the storage fails."""

    def __init__(self, objects: Objects, markers: Sequence[str] = (MANIFESTS,)) -> None:
        """`markers` are the names of which a folder must have one to be listed."""
        self._objects = objects
        self._markers = markers

    async def page(self, last: str, limit: int, matching: Sequence[str] = ()) -> CatalogPage:
        """The repositories after `last`, at most `limit`: all, or those that one of the globs matches."""
        wanted = min(limit, MAX_PAGE)
        page: list[str] = []
        if wanted <= 0:
            return CatalogPage(page)
        walk = _Walk(self._objects, self._markers, Sieve(matching))
        # The folders that the walk is in, the innermost last.
        path = _resume(walk, last)
        while path:
            level = path[-1]
            if walk.is_tired and level.can_stop:
                return CatalogPage(page, more=True, position=level.position)
            node = await level.next(wanted + 1 - len(page))
            if node is None:
                if level.is_over:
                    path.pop()
                continue
            if node.is_repository:
                if len(page) == wanted:
                    return CatalogPage(page, more=True)
                page.append(node.name)
            if node.leads_on:
                path.append(_Level(walk, node.name, node.folder))
        return CatalogPage(page)


class _Walk:
    """One call's walk: what it is for, and how much it has looked at."""

    def __init__(self, objects: Objects, markers: Sequence[str], sieve: Sieve) -> None:
        self.objects = objects
        self.markers = markers
        self.sieve = sieve
        self.looks = 0
        self._at_once = _FEWEST_FOLDERS

    def take(self, most: int) -> int:
        """How many folders to look into now, at most `most`."""
        taken, self._at_once = min(self._at_once, most), min(4 * self._at_once, _MOST_FOLDERS)
        return taken

    @property
    def is_tired(self) -> bool:
        return self.looks >= MOST_LOOKS and not self.sieve.is_open


def _resume(walk: _Walk, last: str) -> list[_Level]:
    """Where the walk stands after `last`, there or not."""
    path = [_Level(walk, "")]
    for component in last.split("/") if last else ():
        path[-1].after = component
        name = _join(path[-1].name, component)
        if not _is_name(name):
            break
        path.append(_Level(walk, name))
    return path


@dataclass(frozen=True, slots=True)
class _Node:
    """A folder in a folder of the walk."""

    name: str
    is_repository: bool
    # Whether repositories may be below it.
    leads_on: bool
    # What is in it.
    folder: Folder


class _Level:
    """A folder that the walk is in: its children in order, from the one after `after`."""

    def __init__(self, walk: _Walk, name: str, folder: Folder | None = None) -> None:
        """`folder` is what is known to be in it: its first names."""
        self.name = name
        self.after = ""
        self._walk = walk
        self._names: deque[str] = deque()
        # The last child before those.
        self._before = ""
        # A walk that begins here gets further before it stops.
        self._may_stop = folder is not None
        self._nodes: deque[_Node] = deque()
        self._more = True
        if folder is not None and walk.sieve.children(name) is None:
            self._add(folder)

    @property
    def can_stop(self) -> bool:
        """Whether all of its children that were looked into have been visited, and there may be others.

        So a walk may stop here, if it has got on.
        """
        return not self._nodes and not self.is_over and (self._may_stop or not self._names)

    @property
    def is_over(self) -> bool:
        """Whether all of its children have been visited."""
        return not (self._more or self._names or self._nodes)

    @property
    def position(self) -> str:
        """The `last` that leads to the children which were not looked into yet."""
        before = self._before if self._names else self.after
        return _join(self.name, f"{before}/{_END}") if before else self.name

    async def next(self, wanted: int) -> _Node | None:
        """The next child that is a repository or leads to some; None if none was found in a first look.

        It looks into no more than are `wanted`.
        """
        if not self._nodes:
            if self._names:
                await self._read_nodes(wanted)
            elif self._more:
                await self._read_names()
        return self._nodes.popleft() if self._nodes else None

    async def _read_names(self) -> None:
        sieve = self._walk.sieve
        names = sieve.children(self.name)
        if names is None:
            path = _path(self.name)
            self._add(await self._walk.objects.list_folder(path, after=self.after, limit=_NAMES))
        else:
            left = tuple(name for name in names if name > self.after)
            self._add(Folder(found=True, names=left, truncated=False))

    def _add(self, folder: Folder) -> None:
        """Take names that follow those that are known."""
        sieve, names = self._walk.sieve, folder.names
        self._more = folder.truncated and bool(names)
        self._walk.looks += len(names)
        self._before = self.after
        self.after = names[-1] if names else self.after
        children = (_join(self.name, name) for name in names)
        self._names.extend(
            child for child in children if _is_name(child) and (sieve.admits(child) or sieve.leads_on(child))
        )

    async def _read_nodes(self, wanted: int) -> None:
        names = [self._names.popleft() for _ in range(min(self._walk.take(wanted), len(self._names)))]
        self._before = names[-1].rpartition("/")[2]
        self._may_stop = True
        sieve = self._walk.sieve
        self._walk.looks += len(names)
        folders = await self._walk.objects.list_folders([_path(name) for name in names], limit=_GLANCE)
        for name, folder in zip(names, folders, strict=True):
            has_children = folder.truncated or any(_is_name(child) for child in folder.names)
            node = _Node(
                name,
                is_repository=sieve.admits(name) and await self._is_repository(name, folder),
                leads_on=has_children and sieve.leads_on(name),
                folder=folder,
            )
            if node.is_repository or node.leads_on:
                self._nodes.append(node)

    async def _is_repository(self, name: str, folder: Folder) -> bool:
        if any(marker in folder.names for marker in self._walk.markers):
            return True
        if not folder.truncated or folder.names[-1:] > (max(self._walk.markers),):
            return False
        paths = [f"{_path(name)}/{marker}" for marker in self._walk.markers]
        return any(await self._walk.objects.exist(paths))


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
