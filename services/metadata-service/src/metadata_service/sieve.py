"""Which folders a search for some repositories has to look into.

The globs say more than which names they match: `team/**` leads into one folder, which need not even be
looked for among its neighbours. A search for few repositories among many costs what it finds, as long as
its globs begin with a name.
"""

from __future__ import annotations

from collections.abc import Sequence

from moorage.globs import is_literal, matches

_ANY_DEPTH = "**"


class Sieve:
    """Some globs over repositories' names (as `moorage.globs` has them); none let everything through."""

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._globs = tuple(dict.fromkeys(globs))
        self._components = [glob.split("/") for glob in self._globs]

    @property
    def is_open(self) -> bool:
        """Whether it lets everything through."""
        return not self._globs

    def admits(self, name: str) -> bool:
        """Whether a repository is among those searched for."""
        return self.is_open or any(matches(glob, name) for glob in self._globs)

    def leads_on(self, folder: str) -> bool:
        """Whether something below a folder can be; `folder` is a name, or "" for the top."""
        return self.is_open or any(self._next_components(folder))

    def children(self, folder: str) -> list[str] | None:
        """The only children of a folder that can lead to something, in order; None if they can be many."""
        if self.is_open:
            return None
        components = self._next_components(folder)
        if not all(is_literal(component) for component in components):
            return None
        return sorted(set(components))

    def _next_components(self, folder: str) -> list[str]:
        """For each glob that can match something below the folder, what it has in that place."""
        path = folder.split("/") if folder else []
        following = [_following(components, path) for components in self._components]
        return [component for component in following if component]


def _following(components: Sequence[str], path: Sequence[str]) -> str:
    """The glob's component that stands for a child of the path; `**` for any, "" when it has none there."""
    for index, name in enumerate(path):
        if index >= len(components):
            return ""
        head, any_depth, _ = components[index].partition(_ANY_DEPTH)
        if any_depth:
            return _ANY_DEPTH if matches(f"{head}*", name) else ""
        if not matches(head, name):
            return ""
    return components[len(path)] if len(path) < len(components) else ""
