"""What is remembered: `state.json` for others, small files for us, and the lock between runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hearthmail.backup.errors import BackupError
from hearthmail.files import replace_file


@dataclass
class State:
    """How the backups went; times are ISO 8601 in UTC.

    :param error: why the last attempt failed, with the way out; None when it did not.
    :param files: in the last snapshot.
    :param last_check: when one came to an end.
    :param check_again: whether `check_error` is one that passes: it is tried again by itself.
    :param warnings: what somebody has to look at although the last backup is whole.
    """

    last_attempt: str | None = None
    last_success: str | None = None
    snapshot: str | None = None
    seconds: float = 0.0
    files: int = 0
    bytes: int = 0
    error: str | None = None
    last_check: str | None = None
    check_error: str | None = None
    check_again: bool = False
    warnings: list[str] = field(default_factory=list)


def now_text() -> str:
    """Now, as it is written down."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(path: Path, data: Any, mode: int = 0o600) -> None:
    """Write a JSON file at one stroke: a reader sees the old one or the new one."""
    replace_file(path, json.dumps(data, indent=1) + "\n", mode)


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object; one that is missing or broken is empty."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def load(path: Path) -> State:
    """Read the state; what is not known of it is new."""
    data = read(path)
    return State(**{one.name: data[one.name] for one in fields(State) if one.name in data})


def save(path: Path, state: State) -> None:
    """Write the state. Everybody may read it: it holds no secret."""
    write(path, asdict(state), 0o644)


@contextlib.contextmanager
def locked(path: Path, wait: float = 0) -> Iterator[int]:
    """Hold the lock. The time of its file says since when.

    :param wait: seconds to wait for it.
    :returns: its descriptor. Whoever inherits it holds the lock too: so a restic that outlives us keeps others out.
    :raises BackupError: when another run holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + wait
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise BackupError(
                        "running",
                        "Another backup or restore is running on this box.",
                        "Wait until it ends: `hearth-backup status` shows it; `--wait SECONDS` waits here.",
                    ) from error
            time.sleep(0.1)
        os.utime(file.fileno())
        yield file.fileno()


def is_locked(path: Path) -> bool:
    """Whether a backup or restore runs now. Only looks: it makes no file."""
    if not path.exists():
        return False
    try:
        with locked(path):
            return False
    except BackupError:
        return True
