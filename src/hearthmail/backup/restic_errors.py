"""What restic's words mean, and what a person can do about it.

restic tells some causes by its exit code from 0.17 on (10, 11, 12); before, and for all others, only its text does.
"""

from __future__ import annotations

import json
import re

from hearthmail.backup.errors import BackupError

_NOT_THERE = r"does not exist|no such file|not found|no such key|nosuchkey|nosuchbucket|\b404\b"
# The order counts: the first that fits is taken.
_SIGNS = (
    ("password", r"wrong password or no key found"),
    ("locked", r"already locked|unable to create lock in backend: repository is"),
    (
        "full",
        # The caps are Backblaze's and StorageGRID's words.
        r"no space left|enospc|\(507\)|insufficient storage|quota ?exceeded|disk quota|storagefull|not enough space"
        r"|storage cap exceeded|byte limit exceeded",
    ),
    (
        "refused",
        r"unauthorized|forbidden|permission denied|access ?denied|invalidaccesskeyid|signaturedoesnotmatch"
        r"|request signature we calculated|access ?key id you provided does not exist|\(\$aws_\w+\) is empty"
        r"|host key verification failed|operation not permitted",
    ),
    # What S3 says to who asks too often (SlowDown), Swift says too when its disk is full.
    ("busy", r"reduce your request rate|slow ?down\b|service unavailable"),
    (
        "unreachable",
        r"connection refused|no such host|i/o timeout|network is unreachable|no route to host|connection reset"
        r"|server misbehaving|handshake|x509|ssh: |unable to start the sftp session|context deadline exceeded"
        r"|connection timed out|broken pipe|temporary failure in name resolution|could not resolve"
        r"|unexpected http response \(5\d\d\)|unexpected eof|ssh command exited",
    ),
    (
        "missing",
        r"repository does not exist|specified bucket does not exist"
        rf"|unable to open (config file|repository)[^\n]*({_NOT_THERE})",
    ),
    (
        "damaged",
        r"ciphertext verification failed|invalid data returned|repository contains errors|is damaged|damaged pack"
        r"|hash mismatch|does not match|loadindex returned errors|errors? for tree|unexpected file size"
        r"|zero size, invalid repository|not found in (index|repository)|unable to load (index|snapshot|tree)"
        r"|config cannot be loaded|load\(<",
    ),
)
# Before another try: of the repository's configuration, which every command reads first, or of anything else.
_RETRY = re.compile(r"^\w+\((?P<what><\S+>)[^)]*\) returned error, retrying after \S+: ", re.MULTILINE)
_CODES = {10: "missing", 11: "locked", 12: "password"}


def plain(text: str) -> str:
    """Turn the JSON lines among restic's errors into their messages."""
    lines = []
    for line in text.splitlines():
        said = line
        if line.startswith("{"):
            try:
                data = json.loads(line)
            except ValueError:
                data = {}
            error = data.get("error")
            detail = error.get("message", "") if isinstance(error, dict) else error or ""
            said = str(
                data.get("message") or " ".join(filter(None, (str(data.get("item") or ""), str(detail)))) or line
            )
        lines.append(_RETRY.sub("", said))
    return "\n".join(lines)


def is_hopeless(line: str) -> bool:
    """Whether restic says that it will try again what cannot succeed.

    0.18 asks an S3 server for a quarter of an hour to take a wrong key, or to have a bucket which nobody has made.
    Only for its first question is a refusal the end: later one may be the server's bad moment.
    """
    again = _RETRY.match(line)
    return again is not None and again["what"] == "<config/>" and kind_of((0, 0), 1, line) in ("refused", "missing")


def kind_of(version: tuple[int, int], code: int, text: str) -> str:
    """Name the cause.

    :param version: restic's, e.g. (0, 14).
    :param text: its error output.
    :returns: `password`, `locked`, `missing`, `full`, `refused`, `busy`, `unreachable`, `damaged` or `other`.
    """
    if version >= (0, 17) and code in _CODES:
        return _CODES[code]
    lowered = plain(text).lower()
    for kind, signs in _SIGNS:
        if re.search(signs, lowered):
            return kind
    return "other"


def explain(
    version: tuple[int, int], code: int, text: str, where: str, is_local: bool = False, restoring: bool = False
) -> BackupError:
    """Say what went wrong and the way out.

    :param where: the repository's name, without a password.
    :param is_local: whether it is a folder on this box.
    :param restoring: whether files were written to this box, not to the repository.
    """
    kind = kind_of(version, code, text)
    lines = [line.strip() for line in plain(text).splitlines() if line.strip()]
    said = "; ".join(lines[-3:])[:600].rstrip(".") or f"exit code {code}"
    if kind == "password":
        return BackupError(
            kind,
            f"The password does not open the repository {where}.",
            "Set `backup_password` in the vault to the one with which the repository was made, and run the playbook. "
            "The recovery kit holds it too. Without it nobody can read the backups.",
        )
    if kind == "locked":
        return BackupError(
            kind,
            f"The repository {where} is locked by another process: {said}.",
            "Wait for it to end. The lock of a process that died is removed by itself, one of another machine after "
            "half an hour; `restic unlock --remove-all` only when surely nothing else uses the repository.",
        )
    if kind == "full" and restoring:
        return BackupError(
            kind,
            f"The disk of this box is full: {said}.",
            "Free some room, or choose a folder on a larger disk (`--target`), and type the command again.",
        )
    if kind == "full":
        return BackupError(
            kind,
            f"There is no room left for the backup at {where}: {said}.",
            "Give it more room, or keep fewer backups (`backup_keep`) and let old ones be removed "
            + ("(`hearth-backup forget --prune`)." if is_local else "by the side that may delete."),
        )
    if kind == "refused":
        return BackupError(
            kind,
            f"The other side does not let us in or do this at {where}: {said}.",
            "Look at the login in `backup_repository`, at `backup_environment`, or at `backup_ssh_key` and "
            "`backup_ssh_host_keys`. "
            "Deleting is refused on purpose where the repository is append-only.",
        )
    if kind == "busy":
        return BackupError(
            kind,
            f"The server of the repository {where} turns us away for now: {said}.",
            "It may have too much to do, or no room left: look there. Without room, give it more, or keep fewer "
            "backups (`backup_keep`). Mail goes on; the next run tries again.",
        )
    if kind == "unreachable":
        return BackupError(
            kind,
            f"The repository {where} cannot be reached: {said}.",
            "See that its machine and the way to it are up. Mail goes on; the next run tries again.",
        )
    if kind == "missing":
        hint = "Is the disk mounted? " if is_local else ""
        return BackupError(
            kind,
            f"There is no repository at {where}.",
            f"{hint}Look at `backup_repository`. If it shall be a new, empty one: `hearth-backup init`.",
        )
    if kind == "damaged":
        return BackupError(
            kind,
            f"The repository {where} is damaged: {said}.",
            "`hearth-backup check` names the damaged parts and says what can be healed.",
        )
    return BackupError(kind, f"restic failed (exit code {code}) at {where}: {said}.", "")
