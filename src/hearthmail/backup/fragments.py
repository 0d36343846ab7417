"""What must be kept, said by each role in a file of its own: `/etc/hearthmail/backup.d/<role>.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearthmail.backup.errors import BackupError

Command = tuple[str, ...]

_KEYS = frozenset({"paths", "exclude", "before", "after_restore"})
# Of all roles: what a box at work may not have made yet. Known here, as a key of the fragment would be refused by an
# older program, which a box has until role backup brings it the new one.
MAY_BE_MISSING = frozenset({"/var/lib/hearthmail/ddns/state.json"})


@dataclass(frozen=True)
class Fragment:
    """What one role wants kept.

    :param name: the role.
    :param paths: what restic reads, absolute; one that does not exist is left out, and told.
    :param exclude: restic's patterns of what is left out.
    :param before: commands that make a consistent copy.
    :param after_restore: commands that put in its place what was restored.
    :param unknown: keys that this program does not know: of a newer role, or misspelt.
    """

    name: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    before: tuple[Command, ...] = ()
    after_restore: tuple[Command, ...] = ()
    unknown: tuple[str, ...] = ()


def _wrong(source: Path, problem: str) -> BackupError:
    return BackupError("fragment", f"{source}: {problem}.", "Run the playbook: its role writes it.")


def _texts(source: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _wrong(source, f"`{key}` is not a list of texts, but {value!r}")
    return tuple(value)


def parse(source: Path, data: Any) -> Fragment:
    """Check one fragment.

    A key that is not known is left to the caller to tell: a role may be newer than this program, and the rest of what
    it wants is kept all the same.

    :raises BackupError: naming the file and the key; also where such a key may be a misspelt `paths`.
    """
    if not isinstance(data, dict):
        raise _wrong(source, "it is not a JSON object")
    unknown = tuple(sorted(set(data) - _KEYS))
    if unknown and "paths" not in data:
        raise _wrong(source, f"it has no `paths`, and `{'`, `'.join(unknown)}` is not known here")
    lists = {key: _texts(source, key, data.get(key, [])) for key in ("paths", "exclude")}
    for path in lists["paths"]:
        if not path.startswith("/") or ".." in Path(path).parts or Path(path) == Path("/"):
            raise _wrong(source, f"`paths` has {path!r}, which is not the absolute path of one thing")
    commands: dict[str, tuple[Command, ...]] = {}
    for key in ("before", "after_restore"):
        value = data.get(key, [])
        if not isinstance(value, list):
            raise _wrong(source, f"`{key}` is not a list of commands, but {value!r}")
        commands[key] = tuple(_texts(source, key, argv) for argv in value)
        if () in commands[key]:
            raise _wrong(source, f"`{key}` has an empty command")
    return Fragment(
        source.stem,
        lists["paths"],
        lists["exclude"],
        commands["before"],
        commands["after_restore"],
        unknown,
    )


def read(folder: Path) -> list[Fragment]:
    """Read all fragments, sorted by name.

    :raises BackupError: when one is malformed: a broken fragment must not look like "nothing to keep".
    """
    fragments = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise _wrong(path, f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise _wrong(path, f"is not JSON: {error}") from error
        fragments.append(parse(path, data))
    return fragments


def paths(fragments: Iterable[Fragment]) -> list[str]:
    """All paths, each once, without those that lie inside another one."""
    every = sorted({str(Path(path)) for fragment in fragments for path in fragment.paths})
    return [path for path in every if not any(Path(other) in Path(path).parents for other in every)]


def excludes(fragments: Iterable[Fragment]) -> list[str]:
    """All patterns of what is left out, each once."""
    return sorted({pattern for fragment in fragments for pattern in fragment.exclude})
