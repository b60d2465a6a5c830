"""Allocate paths to the files of an export: several may want the same one, or a foreign file may have it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from archiver.export import file_names
from archiver.export.export_entry import ExportEntry
from archiver.export.manifest import Manifest


class PathAllocator:
    """Gives each file of an export its own path. A file that has a path keeps it; a later one gets a suffix.

    Two paths are the same if their keys are equal: see ``file_names.collision_key``.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._avoided: set[str] = set()
        self._spellings: dict[str, tuple[str, ...]] = {"": ()}
        self._keys: dict[tuple[str, ...], str] = {(): ""}

    def allocate(self, entries: Sequence[ExportEntry]) -> dict[str, tuple[str, str]]:
        """Return a path and its key for each id; an id is missing if even its last suffix left no free path.

        The paths that these entries had before are free for all of them.
        """
        first_choices = [self._candidate(entry, 0) for entry in entries]
        holders = self._manifest.holders([key for _, key in first_choices])
        movers = {entry.id for entry in entries}
        used = set(self._avoided)
        paths = {}
        for entry, (path, key) in zip(entries, first_choices, strict=True):
            holder, suffixes = holders.get(key), 0
            while key in used or (holder is not None and holder not in movers):
                suffixes += 1
                if suffixes > len(entry.suffixes):
                    break
                path, key = self._candidate(entry, suffixes)
                holder = self._manifest.holders([key]).get(key)
            else:
                used.add(key)
                paths[entry.id] = path, key
        return paths

    def avoid(self, key: str) -> None:
        """Never allocate this path: a foreign file is there."""
        self._avoided.add(key)

    def preferred_path(self, entry: ExportEntry) -> str | None:
        """Return the path without any suffix if no other file of this export has it; None otherwise."""
        path, key = self._candidate(entry, 0)
        holders: Collection[str] = self._manifest.holders([key]).values()
        return path if all(holder == entry.id for holder in holders) and key not in self._avoided else None

    def _candidate(self, entry: ExportEntry, suffixes: int) -> tuple[str, str]:
        """Return the path with this number of suffixes, and its key."""
        name = entry.path[-1]
        if suffixes:
            name = file_names.with_suffix(name, " ".join(entry.suffixes[:suffixes]))
        directory, key = self._directory(entry.path[:-1])
        return "/".join((*directory, name)), f"{key}{file_names.collision_key(name)}"

    def _directory(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
        """Return a directory as this export spells it, and its key, which ends with ``/``.

        On another system, two spellings may be the same directory: the first one is used for both.
        """
        key = self._keys.get(path)
        if key is not None:
            return self._spellings[key], key
        parent, key = self._directory(path[:-1])
        key += file_names.collision_key(path[-1])
        if f"{key}/" not in self._spellings:
            example = self._manifest.path_below(key)
            name = example.split("/")[len(path) - 1] if example is not None else path[-1]
            self._spellings[f"{key}/"] = (*parent, name)
        self._keys[path] = f"{key}/"
        return self._spellings[f"{key}/"], f"{key}/"
