"""Where things lie on the box, and the configuration that the role writes (`/etc/hearthmail/backup.json`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearthmail.backup.errors import BackupError

_KEPT = ("hourly", "daily", "weekly", "monthly")
_SECRET = re.compile(r"password|secret|key|token|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Box:
    """The box's file system. The tests give a root of their own."""

    root: Path = Path("/")

    def at(self, path: str | Path) -> Path:
        """An absolute path of the box, as a path that can be opened."""
        return self.root / str(path).lstrip("/")

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.at("/etc/hearthmail/backup.json")

    @property
    def fragments(self) -> Path:
        """What the roles say that must be kept."""
        return self.at("/etc/hearthmail/backup.d")

    @property
    def base(self) -> Path:
        """Everything of our own."""
        return self.at("/var/lib/hearthmail/backup")

    @property
    def state(self) -> Path:
        """How the backups went: for others."""
        return self.base / "state.json"

    @property
    def repository(self) -> Path:
        """Which repository this box has used already."""
        return self.base / "repository.json"

    @property
    def journal(self) -> Path:
        """How far a restore of the whole box has come."""
        return self.base / "restore.json"

    @property
    def staging(self) -> Path:
        """The consistent copy of all mail: <domain>/<local part>/Maildir."""
        return self.base / "mail"

    @property
    def staged(self) -> Path:
        """As what each mailbox was seen when it was copied last."""
        return self.base / "staged.json"

    @property
    def copies(self) -> Path:
        """Whose copy failed the last time; lies in the snapshot too, as the staging then holds an older one."""
        return self.base / "copies.json"

    @property
    def owners(self) -> Path:
        """Names of the numbers of users and groups: another box may have given them to others."""
        return self.base / "owners.json"

    @property
    def scratch(self) -> Path:
        """For a single mailbox that is brought back."""
        return self.base / "scratch"

    @property
    def damaged(self) -> Path:
        """Copies of damaged packs that were repaired."""
        return self.base / "damaged"

    @property
    def queue(self) -> Path:
        """What waited in Postfix's queue, as `postqueue -j` listed it (role postfix)."""
        return self.base / "queue.json"

    @property
    def lock(self) -> Path:
        """Held while a backup or a restore runs."""
        return self.at("/run/hearthmail/backup.lock")

    @property
    def progress(self) -> Path:
        """How far the run that holds the lock is."""
        return self.at("/run/hearthmail/backup.progress")

    @property
    def restored(self) -> Path:
        """What `restore-user` brought back last."""
        return self.base / "restored.json"

    @property
    def cache(self) -> Path:
        """restic's own cache."""
        return self.at("/var/cache/hearthmail/restic")

    def make_base(self) -> None:
        """Make our folder. Others may pass through it, not look into it: doveadm works there as the mail's owner."""
        for folder in (self.base.parent, self.base):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.base.chmod(0o711)


@dataclass(frozen=True)
class Config:
    """The configuration.

    :param repository: restic's name of it; may hold a password.
    :param environment: credentials for it, as restic's environment variables.
    :param forget: whether the box itself deletes old snapshots; else the other side does.
    :param check_sample: how much of the data a check reads, e.g. `2%`, or `1/52`: another part each week.
    :param interval: seconds between two backups.
    :param restore_directory: where the whole box is restored to before it is put in its place.
    :param reserve_percent: of the disk of the mail's copies, that they leave free, at most `room.MOST`.
    :param reserve_bytes: that they leave free at least.
    """

    repository: str
    password_file: str
    hostname: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    retention: Mapping[str, int] = field(default_factory=lambda: dict(zip(_KEPT, (48, 14, 8, 12), strict=True)))
    forget: bool = False
    check_sample: str = "2%"
    interval: int = 3600
    users_file: str = "/etc/dovecot/users"
    mail_directory: str = "/var/vmail"
    restore_directory: str = "/var/lib/hearthmail/restore"
    reserve_percent: float = 5
    reserve_bytes: int = 0

    @property
    def is_local(self) -> bool:
        """Whether the repository is a folder on a disk of this box."""
        return self.repository.startswith("/")

    @property
    def shown_repository(self) -> str:
        """The repository's name without a password."""
        return strip_login(self.repository)

    def mask(self, text: str) -> str:
        """Take the credentials out of a text that is to be shown."""
        secrets = [value for name, value in self.environment.items() if _SECRET.search(name) and len(value) > 3]
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return strip_login(text)


def strip_login(text: str) -> str:
    """Take user and password out of every URL in a text."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def _wrong(problem: str) -> BackupError:
    return BackupError("config", problem, "Run the playbook: role backup writes this file.")


def parse(source: str, data: Any) -> Config:
    """Make a configuration of what the file holds.

    :param source: the file's name, for messages.
    :raises BackupError: naming the key.
    """
    if not isinstance(data, dict):
        raise _wrong(f"{source} is not a JSON object.")
    for key in ("repository", "password_file", "hostname"):
        if not isinstance(data.get(key), str) or not data[key]:
            raise _wrong(f"{source}: `{key}` is missing.")
    kinds: dict[str, type | tuple[type, ...]] = {
        "environment": dict,
        "options": list,
        "retention": dict,
        "forget": bool,
        "check_sample": str,
        "interval": int,
        "users_file": str,
        "mail_directory": str,
        "restore_directory": str,
        "reserve_percent": (int, float),
        "reserve_bytes": int,
    }
    given: dict[str, Any] = {key: data[key] for key in ("repository", "password_file", "hostname")}
    for key, kind in kinds.items():
        if key not in data:
            continue
        if not isinstance(data[key], kind):
            raise _wrong(f"{source}: `{key}` is {data[key]!r}.")
        given[key] = data[key]
    if "options" in given:
        given["options"] = tuple(str(option) for option in given["options"])
    if "environment" in given:
        given["environment"] = {str(name): str(value) for name, value in given["environment"].items()}
    for name, count in given.get("retention", {}).items():
        if name not in _KEPT or not isinstance(count, int) or count < 0:
            raise _wrong(f"{source}: `retention` has {name}: {count!r}; it takes {', '.join(_KEPT)}, each a number.")
    if not any(given.get("retention", {"hourly": 1}).values()):
        raise _wrong(f"{source}: `retention` keeps nothing.")
    return Config(**given)


def load(box: Box) -> Config:
    """Read the configuration.

    :raises BackupError: when it is missing or not usable.
    """
    try:
        return parse(str(box.config), json.loads(box.config.read_text(encoding="utf-8")))
    except PermissionError as error:
        raise BackupError("config", f"{error}.", "Run it as root: the file holds credentials.") from error
    except OSError as error:
        raise _wrong(f"{box.config} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _wrong(f"{box.config} is not JSON: {error}.") from error
