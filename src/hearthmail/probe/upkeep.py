"""What other programs keep right, by the traces that they leave: certificate, DNS agent, backup."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hearthmail.probe.box import Units
from hearthmail.probe.commands import run
from hearthmail.probe.config import Config
from hearthmail.probe.finding import GREEN, RED, RESTART, YELLOW, Finding
from hearthmail.probe.mailqueue import hours

DDNS_STATE = Path("/var/lib/hearthmail/ddns/state.json")
BACKUP_STATE = Path("/var/lib/hearthmail/backup/state.json")
# Written when backups are set up; its age says whether the first one is overdue.
BACKUP_FRAGMENT = Path("/etc/hearthmail/probe.d/backup.json")
# Rounds: a provider or a line that is away for a few minutes comes back without a person, and the agent tries again.
DDNS_HOLD = 5
DDNS_SERVICE = "hearth-ddns.service"
# Rounds that never end.
ENDLESS = 10**9
WEEK = 7 * 86400.0
# Seconds without a check, which is made each week, after which somebody has to look.
UNCHECKED = 3 * WEEK
# Seconds that a time may lie ahead: the clock was set back a little.
FUTURE = 3600.0
CHECK_TODO = "systemctl start hearth-backup-check; journalctl -u hearth-backup-check -n 50"


def certificate_end(answer: str) -> float:
    """When a certificate ends, from `openssl x509 -enddate`: notAfter=Nov 21 14:00:00 2036 GMT.

    :raises ValueError: for anything else.
    """
    name, _, value = answer.strip().partition("=")
    if name != "notAfter":
        raise ValueError(answer.strip() or "no answer")
    return float(ssl.cert_time_to_seconds(value))


def check_certificate(config: Config, now: float) -> Finding:
    """Judge how long the certificate that the mail programs show still holds."""
    file = config.certificate
    todo = "run the playbook with --tags certificates"
    done = run(["openssl", "x509", "-noout", "-enddate", "-in", file])
    if done.code:
        missing = not Path(file).exists()
        return Finding("certificate", RED, f"{file} {'is missing' if missing else 'is no certificate'}", todo)
    try:
        days = (certificate_end(done.out) - now) / 86400
    except ValueError as error:
        return Finding("certificate", RED, f"the end of {file} cannot be read: {error}", todo)
    if days < 0:
        return Finding("certificate", RED, f"it ended {-days:.0f} days ago", todo)
    reason = f"holds for {days:.0f} days"
    if days < config.certificate_red:
        return Finding("certificate", RED, reason, todo)
    if days < config.certificate_yellow:
        return Finding("certificate", YELLOW, reason, todo)
    return Finding("certificate", GREEN, reason)


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _first(texts: Any) -> str:
    """The line that says most: an error, a conflict, what is not written, else the first one that is no heading."""
    whole = [str(line) for line in texts or () if str(line).strip()]
    said = [line for line in whole if line[0].isspace() or not line.endswith(":")]
    lines = [line.strip() for line in said or whole]
    marks = ("ERROR", "CONFLICT", "NOT WRITTEN")
    return next((line for line in lines if line.startswith(marks)), lines[0] if lines else "")


def _withheld(state: Mapping[str, Any]) -> list[str]:
    """The places that the agent could not write, with the reasons."""
    withheld = state.get("withheld")
    return [str(why) for _, why in sorted(withheld.items())] if isinstance(withheld, dict) else []


def check_ddns(units: Units, state_path: Path = DDNS_STATE) -> Finding:
    """Judge the DNS agent by what it remembers; asking it would cost more than all other checks together."""
    todo = "hearth-ddns status; journalctl -u hearth-ddns -n 30"
    unit = units.get(DDNS_SERVICE, {})
    if unit and unit.get("ActiveState") not in ("active", "activating", "reloading"):
        ended = unit.get("Result", "success")
        why = "" if ended == "success" else f" ({ended})"
        return Finding("dns agent", RED, f"{DDNS_SERVICE} does not run{why}", todo, DDNS_SERVICE, (RESTART,))
    state = _read(state_path)
    if state is None or not state.get("published"):
        return Finding("dns agent", RED, "it has published nothing yet", "hearth-ddns apply")
    look = state.get("last_look") or {}
    said = _first(look.get("text")) or _first((state.get("last_adoption") or {}).get("text"))
    if look.get("exit_code") or (state.get("last_adoption") or {}).get("text"):
        return Finding("dns agent", RED, said or "its last look failed", todo, hold=DDNS_HOLD)
    if not state.get("ipv4"):
        return Finding("dns agent", RED, str(state.get("ipv4_problem") or "the public address is not known"), todo)
    if state.get("ipv4_problem") or said:
        return Finding("dns agent", YELLOW, str(state.get("ipv4_problem") or said), todo)
    if withheld := _withheld(state):
        # Told by the run that met it; the looks that follow leave out what they cannot put in place.
        more = f"; and {len(withheld) - 1} more" if withheld[1:] else ""
        return Finding("dns agent", YELLOW, f"not written at {withheld[0]}{more}", "hearth-ddns status")
    return Finding("dns agent", GREEN, f"published, {state['ipv4']}")


def _age(text: Any, now: float) -> float | None:
    """Seconds since a time as in ISO 8601; None when there is none."""
    try:
        return now - datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def check_backup(
    config: Config,
    now: float,
    state_path: Path = BACKUP_STATE,
    fragment: Path = BACKUP_FRAGMENT,
    running: bool = False,
) -> Finding:
    """Judge the backups by their state file.

    :param running: whether one is at work now: a first one over a home line takes a night.
    """
    todo = "journalctl -u hearth-backup -n 50; systemctl start hearth-backup"
    state = _read(state_path) or {}
    age, since = _age(state.get("last_success"), now), _since(fragment, now)
    is_future = age is not None and age < -FUTURE
    known = None if is_future else age
    is_overdue = (since if known is None else known) > 3 * config.backup_interval
    good = f"; the last good one is {hours(known)} old" if known else ""
    if state.get("error"):
        # The next run mends most of it: told when none has, before mail of more than a few hours has no backup.
        hold = 0 if is_overdue else ENDLESS
        return Finding("backup", RED, f"the last backup failed: {state['error']}{good}", todo, hold=hold)
    checked = f"the check of the repository failed: {state.get('check_error')}{good}"
    if state.get("check_error") and not state.get("check_again"):
        return Finding("backup", RED, checked, todo)
    if is_future:
        return Finding("backup", YELLOW, f"the last one is of {state['last_success']}, in the future", todo)
    if known is None or is_overdue:
        reason = "none was made yet" if known is None else f"the last one is {hours(known)} old"
        if running:
            return Finding("backup", YELLOW, f"{reason}; one is running now", "hearth-backup status")
        return Finding("backup", RED if is_overdue else YELLOW, reason, todo)
    if state.get("check_error"):
        return Finding("backup", YELLOW, checked, CHECK_TODO)
    if unchecked := _unchecked(state, since, now):
        return Finding("backup", YELLOW, unchecked, CHECK_TODO)
    if warnings := state.get("warnings"):
        more = f"; and {len(warnings) - 1} more" if warnings[1:] else ""
        return Finding("backup", YELLOW, f"{warnings[0]}{more}", "hearth-backup status")
    return Finding("backup", GREEN, f"the last one is {hours(max(known, 0))} old")


def _since(fragment: Path, now: float) -> float:
    """Seconds since the backups were set up."""
    try:
        return now - fragment.stat().st_mtime
    except OSError:
        return 0.0


def _unchecked(state: Mapping[str, Any], since: float, now: float) -> str:
    """Whether the weekly check does not run: nobody knows then whether the backups can be read."""
    age = _age(state.get("last_check"), now)
    if age is None:
        return "the repository has never been checked" if since > UNCHECKED else ""
    if age < -FUTURE:
        return f"the last check of the repository is of {state['last_check']}, in the future"
    return f"the repository was checked {age / WEEK:.0f} weeks ago" if age > UNCHECKED else ""
