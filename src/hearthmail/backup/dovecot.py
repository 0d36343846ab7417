"""Dovecot's commands and its file of users. 2.3 (Debian 12) and 2.4 (Debian 13) write a place of mail differently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hearthmail.backup.errors import BackupError
from hearthmail.backup.processes import Result, run

# What `doveadm backup` ends with when the mailbox changed meanwhile: run it again (doveadm-backup(1)).
CHANGED = 2
# EX_TEMPFAIL of sysexits.h.
TEMPFAIL = 75


@dataclass(frozen=True)
class User:
    """A mailbox, by its address in lower case."""

    address: str

    @property
    def place(self) -> Path:
        """Its folder below the mail's and the staging's: <domain>/<local part>."""
        local, _, domain = self.address.rpartition("@")
        return Path(domain) / local


def is_nobodys(name: str) -> bool:
    """Whether a domain or address is nobody's: at a name in .invalid (RFC 6761) the probe gets its own messages."""
    return name.endswith(".invalid")


def read_users(path: Path) -> list[User] | None:
    """Read the users' file (passwd-file: the address is the first field).

    :returns: the users, or None without such a file.
    :raises BackupError: for an address that cannot be the name of a folder.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    users = []
    for line in text.splitlines():
        address = line.split(":", 1)[0].strip().lower()
        if not address or address.startswith("#") or is_nobodys(address):
            continue
        users.append(user(address))
    return list(dict.fromkeys(users))


def user(address: str) -> User:
    """Check an address.

    :raises BackupError: when it cannot be the name of a folder.
    """
    local, at, domain = address.strip().lower().rpartition("@")
    if not at or any(not part or "/" in part or "\0" in part or part.startswith(".") for part in (local, domain)):
        raise BackupError("user", f"{address!r} is not an address of a mailbox.", "Write it as hanako@hearth.example.")
    return User(f"{local}@{domain}")


def version() -> tuple[int, int]:
    """Dovecot's version, e.g. (2, 4).

    :raises BackupError: when it is not installed.
    """
    try:
        said = run(["dovecot", "--version"]).out
    except FileNotFoundError as error:
        raise BackupError("not_installed", "Dovecot is not installed.", "Run the playbook (site.yml).") from error
    match = re.match(r"(\d+)\.(\d+)", said)
    if not match:
        raise BackupError("dovecot", f"Dovecot's version is not understood: {said!r}.", "")
    return int(match[1]), int(match[2])


def is_away(result: Result) -> bool:
    """Whether a doveadm got no answer to its question who the user is: Dovecot starts anew, or is down.

    By its words too, the same in 2.3 and 2.4: much else ends with the same code.
    """
    return result.code == TEMPFAIL and "userdb lookup(" in result.err


def backup_command(release: tuple[int, int], address: str, maildir: Path, index: Path) -> list[str]:
    """Make a copy of a mailbox equal to it, with flags, folders, UIDs.

    The indexes of the copy lie beside it: Dovecot needs them to see what changed, the backup does not. The list
    of UIDs stays in the Maildir. The limit of the mailbox is no hindrance: dsync takes none (`user->dsyncing` in
    src/plugins/quota/quota.c, in 2.3 and 2.4), so all plugins stay loaded, as one of them may be needed to read mail.
    """
    if release >= (2, 4):
        # A place is driver:path and nothing more; other settings of it are given by -p.
        return ["doveadm", "backup", "-u", address, "-p", f"mail_index_path={index}", f"maildir:{maildir}"]
    # 2.3 takes % for the beginning of a variable.
    place = f"maildir:{maildir}:INDEX={index}".replace("%", "%%")
    return ["doveadm", "backup", "-u", address, place]


def import_command(release: tuple[int, int], address: str, maildir: Path, parent: str) -> list[str]:
    """Copy all messages of a Maildir into folders below a new folder, and subscribe to them.

    Without plugins: quota would refuse what takes the mailbox over its limit. Its usage is counted from the
    indexes, so it is right afterwards all the same. (`mail_plugins=` empties the list in 2.3 and 2.4.)
    """
    place = f"maildir:{maildir}"
    if release < (2, 4):
        place = place.replace("%", "%%")
    return ["doveadm", "-o", "mail_plugins=", "import", "-u", address, "-s", place, parent, "ALL"]


def list_command(address: str, parent: str) -> list[str]:
    """List a folder and what lies in it."""
    return ["doveadm", "mailbox", "list", "-u", address, parent, f"{parent}/*"]


def count_command(address: str, parent: str) -> list[str]:
    """Count the messages below a folder."""
    return ["doveadm", "-f", "tab", "mailbox", "status", "-u", address, "messages", f"{parent}/*"]


def counted(text: str) -> int:
    """Add up what `count_command` printed: a line of titles, then name and number by tabs."""
    numbers = (line.rsplit("\t", 1)[-1].strip() for line in text.splitlines()[1:])
    return sum(int(one) for one in numbers if one.isdigit())
