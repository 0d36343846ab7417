"""What the probe remembers between rounds, in `/var/lib/hearthmail/probe/memory.json`.

A help, never a need: one that is damaged is put aside, and the probe starts afresh. While that disk is full it is kept
in `/run/hearth-probe`, so that the disk's being full can be told.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hearthmail.files import replace_file

FOLDER = Path("/var/lib/hearthmail/probe")
RUN_FOLDER = Path("/run/hearth-probe")
FILE = "memory.json"
VERSION = 1


@dataclass(frozen=True)
class Fault:
    """A part that is red, or was until a moment ago.

    :param since: when it was first seen, in seconds of the Unix clock, as all times here.
    :param rounds: how many rounds in a row it has been red; 0: it is well, but that was not told yet.
    :param well: how many rounds in a row it has been well.
    :param steps: repairs that were tried.
    :param tried: when the last one was.
    :param told: when a person was last told; 0: not yet.
    """

    since: float
    rounds: int = 0
    well: int = 0
    steps: tuple[str, ...] = ()
    tried: float = 0.0
    told: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Note:
    """What happened and was mended: worth a line for a day."""

    at: float
    text: str


@dataclass(frozen=True)
class Letter:
    """A mail to a person that has not left yet."""

    at: float
    subject: str
    body: str


@dataclass(frozen=True)
class Memory:
    """Everything that is remembered.

    :param restarts: by unit, when it was restarted, by us or by systemd.
    :param counted: by unit, how many restarts systemd had counted.
    :param tellings: by part, when a person was told within the last day.
    :param stalled: processes that wait for a disk, by what tells them apart, since when they have not moved.
    :param reboots: by us, within the last day.
    :param closed: units that are stopped for want of inodes.
    :param mail_tried: by queue id, how often Postfix was told to try a message that it had put off; while it waits.
    :param mail_tried_at: when that was last done for any.
    :param retried: by unit, when it was restarted once more though no repair had helped.
    """

    faults: Mapping[str, Fault] = field(default_factory=dict)
    restarts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    tellings: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    letters: tuple[Letter, ...] = ()
    stalled: Mapping[str, float] = field(default_factory=dict)
    reboots: tuple[float, ...] = ()
    retried: Mapping[str, float] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    mail_tried: Mapping[str, int] = field(default_factory=dict)
    mail_tried_at: float = 0.0

    @property
    def last_reboot(self) -> float:
        """When it was; 0: not within a day."""
        return max(self.reboots, default=0.0)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no map")
    return value


def _record(make: Any, data: Any) -> Any:
    """Fill one of the small records above; every value must be of the kind that is expected."""
    found: dict[str, Any] = {}
    known = _map(data)
    for one in fields(make):
        if one.name not in known:
            continue
        value = known[one.name]
        if one.type == "float":
            found[one.name] = _number(value)
        elif one.type == "int":
            found[one.name] = int(_number(value))
        elif one.type == "str" and isinstance(value, str):
            found[one.name] = value
        elif one.type == "tuple[str, ...]" and isinstance(value, list):
            found[one.name] = tuple(map(str, value))
        else:
            raise ValueError(f"malformed value of {one.name}")
    return make(**found)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list")
    return value


def _times(value: Any) -> dict[str, tuple[float, ...]]:
    return {key: tuple(map(_number, _list(times))) for key, times in _map(value).items()}


def parse(text: str) -> Memory:
    """Read a memory back.

    :raises ValueError, TypeError: when it is not one.
    """
    data = _map(json.loads(text))
    if data.get("version") != VERSION:
        raise ValueError("not a memory of this version")
    return Memory(
        faults={part: _record(Fault, fault) for part, fault in _map(data.get("faults", {})).items()},
        restarts=_times(data.get("restarts", {})),
        counted={unit: int(_number(count)) for unit, count in _map(data.get("counted", {})).items()},
        tellings=_times(data.get("tellings", {})),
        notes=tuple(_record(Note, note) for note in _list(data.get("notes", []))),
        letters=tuple(_record(Letter, letter) for letter in _list(data.get("letters", []))),
        stalled={key: _number(at) for key, at in _map(data.get("stalled", {})).items()},
        retried={unit: _number(at) for unit, at in _map(data.get("retried", {})).items()},
        reboots=tuple(map(_number, _list(data.get("reboots", [])))),
        closed=tuple(map(str, _list(data.get("closed", [])))),
        mail_tried={name: int(_number(count)) for name, count in _map(data.get("mail_tried", {})).items()},
        mail_tried_at=_number(data.get("mail_tried_at", 0)),
    )


def load(folder: Path, run_folder: Path, now: float) -> Memory:
    """Read the memory; a missing one is empty, a damaged one is put aside, with a note, and no reboot for an hour."""
    substitute = run_folder / FILE
    path = substitute if substitute.exists() else folder / FILE
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError) as error:
        aside = path.with_suffix(".damaged")
        with contextlib.suppress(OSError):
            path.replace(aside)
        said = f"The memory was damaged ({error}): put aside as {aside}, started afresh."
        # It may have held a reboot: as if there had been one just now, none comes within the hour.
        return Memory(notes=(Note(now, said),), reboots=(now,))


def dump(memory: Memory) -> str:
    """The memory as text."""
    return json.dumps({"version": VERSION, **asdict(memory)}, indent=1) + "\n"


def save(memory: Memory, folder: Path, run_folder: Path) -> str:
    """Keep the memory; gives why that failed. An unchanged one is not written (the disk may be an SD card).

    What cannot be kept on the disk is kept in `run_folder`, until the next boot.
    """
    path, text = folder / FILE, dump(memory)
    problem = ""
    try:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            replace_file(path, text, 0o600)
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror or error}"
    with contextlib.suppress(OSError):
        if problem:
            replace_file(run_folder / FILE, text, 0o600)
        else:
            (run_folder / FILE).unlink(missing_ok=True)
    return problem


@contextlib.contextmanager
def lock(folder: Path, wait: float) -> Iterator[bool]:
    """Hold the lock between rounds: two at once would remove each other's messages. Gives whether it was had.

    :param wait: seconds to wait for another round.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    yield False
                    return
                time.sleep(0.2)
            else:
                yield True
                return
