"""What others do when the box's address has changed: the programs in `/etc/hearthmail/ddns.d/`.

The agent does not run them: it is no longer root, and they may need to be. It leaves a note in a folder of its own; a
path unit of systemd sees it and starts `hearth-ddns hooks` as root, which believes nothing in a note but addresses.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hearthmail.ddns.config import Config
from hearthmail.ddns.records import address_keys
from hearthmail.ddns.state import State
from hearthmail.files import replace_file

NOTES_PATH = Path("/run/hearth-ddns/changes")
HOOKS_PATH = Path("/etc/hearthmail/ddns.d")
# Seconds that one program may take.
TIME_LIMIT = 60


@dataclass(frozen=True)
class Addresses:
    """The addresses that are published for the box; empty where there is none."""

    ipv4: str = ""
    ipv6: str = ""


def published(config: Config, state: State | None) -> Addresses:
    """The addresses that the state knows to be published."""
    if state is None:
        return Addresses()
    values = [min(state.owned_in(key.zone).get(key, ()), default="") for key in address_keys(config)]
    return Addresses(*values)


def announce(old: Addresses, new: Addresses, folder: Path = NOTES_PATH, now: Callable[[], float] = time.time) -> None:
    """Leave a note that the address has changed. Nothing where the folder is missing: then nobody waits for notes."""
    if old != new and folder.is_dir():
        note = {"old": asdict(old), "new": asdict(new)}
        # Written beside the folder and moved into it whole: whatever lies in it is taken away at once.
        ready = folder.parent / "note.json"
        replace_file(ready, json.dumps(note))
        ready.rename(folder / f"{now():.6f}.json")


def _addresses(raw: object) -> Addresses:
    """Read addresses from a note; what is no address does not get through.

    :raises ValueError: when it is none.
    """
    if not isinstance(raw, dict) or not set(raw) <= {"ipv4", "ipv6"}:
        raise ValueError("no map of addresses")
    v4, v6 = raw.get("ipv4"), raw.get("ipv6")
    return Addresses(
        str(ipaddress.IPv4Address(str(v4))) if v4 else "", str(ipaddress.IPv6Address(str(v6))) if v6 else ""
    )


def read_note(text: str) -> tuple[Addresses, Addresses]:
    """Read a note: the addresses before and after.

    :raises ValueError: when it is not one.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("no map")
    return _addresses(data.get("old")), _addresses(data.get("new"))


def environment(old: Addresses, new: Addresses) -> dict[str, str]:
    """What the programs get to know."""
    return {
        "HEARTH_OLD_IPV4": old.ipv4,
        "HEARTH_NEW_IPV4": new.ipv4,
        "HEARTH_OLD_IPV6": old.ipv6,
        "HEARTH_NEW_IPV6": new.ipv6,
    }


def _refusal(path: Path) -> str:
    """Why a file is not run; empty when it is."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or not os.access(path, os.X_OK):
        return "it is no executable file"
    if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than root may change it"
    return ""


def run_hooks(variables: Mapping[str, str], hooks: Path = HOOKS_PATH, limit: float = TIME_LIMIT) -> list[str]:
    """Run every program of a folder, in the order of their names, each under a time limit.

    :param limit: seconds for each.
    :returns: what went wrong, a line for each.
    """
    wrong = []
    for path in sorted(hooks.iterdir()) if hooks.is_dir() else []:
        if path.name.startswith(".") or path.suffix in (".dpkg-old", ".dpkg-new", ".dpkg-dist", ".bak"):
            continue
        try:
            refusal = _refusal(path)
            if refusal:
                wrong.append(f"{path}: {refusal}")
                continue
            # Its whole group ends with it: what it has started must not stay behind.
            with subprocess.Popen(
                [str(path)],
                env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **variables},
                stdin=subprocess.DEVNULL,
                process_group=0,
            ) as program:
                try:
                    code = program.wait(limit)
                    if code:
                        wrong.append(f"{path}: exit code {code}")
                except subprocess.TimeoutExpired:
                    os.killpg(program.pid, 9)
                    wrong.append(f"{path}: no end after {limit:.0f} s")
        except OSError as error:
            wrong.append(f"{path}: {error}")
    return wrong


def _take(name: str, folder: int) -> str:
    """Read a note and take it away; it may be anything, as its folder is not root's.

    :param folder: the folder, opened: its name may mean another one a moment later.
    :raises OSError: when it is no file, or cannot be taken away.
    """
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError("it is no file")
            return os.read(file, 10_000).decode("utf-8", "replace")
        finally:
            os.close(file)
    finally:
        # A note that cannot be understood must not start us for ever.
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            # It follows no link, whatever the account does meanwhile (`shutil.rmtree.avoids_symlink_attacks`).
            shutil.rmtree(name, dir_fd=folder)


def work_off(notes: Path = NOTES_PATH, hooks: Path = HOOKS_PATH, limit: float = TIME_LIMIT) -> list[str]:
    """Take every note away and run the programs for it.

    Several notes are one change, from the oldest address to the newest one.

    :returns: what went wrong, a line for each.
    """
    wrong: list[str] = []
    told: list[tuple[Addresses, Addresses]] = []
    try:
        # Never through a link: the account could lead root to a folder of others, whose files would be taken away.
        folder = os.open(notes, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{notes}: {error}"]
    try:
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a Path cannot list an opened folder
            try:
                told.append(read_note(_take(name, folder)))
            except (OSError, ValueError) as error:
                wrong.append(f"{notes / name}: {error}")
    finally:
        os.close(folder)
    if told:
        wrong += run_hooks(environment(told[0][0], told[-1][1]), hooks, limit)
    return wrong
