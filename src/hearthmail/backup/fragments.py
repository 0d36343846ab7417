"""What must be kept, said by each role in a file of its own: `/etc/hearthmail/backup.d/<role>.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearthmail.backup.errors import BackupError

Command = tuple[str, ...]


@dataclass(frozen=True)
class Fragment:
    """What one role wants kept.

    :param name: the role.
    :param paths: what restic reads, absolute; one that does not exist is left out, and told.
    :param optional: those of them that need not exist.
    :param exclude: restic's patterns of what is left out.
    :param before: commands that make a consistent copy.
    :param after_restore: commands that put in its place what was restored.
    """

    name: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    before: tuple[Command, ...] = ()
    after_restore: tuple[Command, ...] = ()
    optional: tuple[str, ...] = ()


def _wrong(source: Path, problem: str) -> BackupError:
    return BackupError("fragment", f"{source}: {problem}.", "Run the playbook: its role writes it.")


def _texts(source: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _wrong(source, f"`{key}` is not a list of texts, but {value!r}")
    return tuple(value)


def parse(source: Path, data: Any) -> Fragment:
    """Check one fragment.

    :raises BackupError: naming the file and the key. A key that is not known may be a way to keep something
        that this program does not know: silence would lose it.
    """
    if not isinstance(data, dict):
        raise _wrong(source, "it is not a JSON object")
    unknown = set(data) - {"paths", "optional", "exclude", "before", "after_restore"}
    if unknown:
        raise _wrong(source, f"{', '.join(sorted(unknown))} is not known here")
    lists = {key: _texts(source, key, data.get(key, [])) for key in ("paths", "optional", "exclude")}
    for path in lists["paths"]:
        if not path.startswith("/") or ".." in Path(path).parts or Path(path) == Path("/"):
            raise _wrong(source, f"`paths` has {path!r}, which is not the absolute path of one thing")
    for path in lists["optional"]:
        if path not in lists["paths"]:
            raise _wrong(source, f"`optional` has {path!r}, which is not in `paths`")
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
        lists["optional"],
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
