"""Which path each file gets, where several want one, or one that is somebody else's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from archiver.export import names
from archiver.export.manifest import Manifest
from archiver.export.wanted import Wanted


class Paths:
    """The paths of one export. What has a path keeps it; who comes later gets a mark behind its name."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._avoided: set[str] = set()
        self._spelled: dict[str, tuple[str, ...]] = {"": ()}
        self._keys: dict[tuple[str, ...], str] = {(): ""}

    def allocate(self, wanted: Sequence[Wanted]) -> dict[str, tuple[str, str]]:
        """For each id a path and its key; not for those to whom none of their names is left. What they have had is free for the others."""
        firsts = [self._candidate(want, 0) for want in wanted]
        taken = self._manifest.taken([key for _, key in firsts])
        movers = {want.id for want in wanted}
        mine = set(self._avoided)
        found = {}
        for want, (path, key) in zip(wanted, firsts, strict=True):
            holder, attempt = taken.get(key), 0
            while key in mine or (holder is not None and holder not in movers):
                attempt += 1
                if attempt > len(want.marks):
                    break
                path, key = self._candidate(want, attempt)
                holder = self._manifest.taken([key]).get(key)
            else:
                mine.add(key)
                found[want.id] = path, key
        return found

    def avoid(self, key: str) -> None:
        """A file of somebody else's stands there."""
        self._avoided.add(key)

    def wish(self, wanted: Wanted) -> str | None:
        """The path that it would have without any mark, if no other file of ours has it."""
        path, key = self._candidate(wanted, 0)
        holders: Collection[str] = self._manifest.taken([key]).values()
        return path if all(holder == wanted.id for holder in holders) and key not in self._avoided else None

    def _candidate(self, wanted: Wanted, attempt: int) -> tuple[str, str]:
        name = wanted.path[-1]
        if attempt:
            name = names.with_suffix(name, " ".join(wanted.marks[:attempt]))
        spelled, key = self._directory(wanted.path[:-1])
        return "/".join((*spelled, name)), f"{key}{names.key(name)}"

    def _directory(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
        """The directory as this export spells it, as two spellings may be one on another system; and its key, which ends with ``/``."""
        key = self._keys.get(path)
        if key is not None:
            return self._spelled[key], key
        above, key = self._directory(path[:-1])
        key += names.key(path[-1])
        if f"{key}/" not in self._spelled:
            example = self._manifest.below(key)
            name = example.split("/")[len(path) - 1] if example is not None else path[-1]
            self._spelled[f"{key}/"] = (*above, name)
        self._keys[path] = f"{key}/"
        return self._spelled[f"{key}/"], f"{key}/"
