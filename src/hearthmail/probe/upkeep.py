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
    """The line that says most: an error, a conflict, what is not written, else the first one."""
    lines = [line for line in (str(line).strip() for line in texts or ()) if line]
    marks = ("ERROR", "CONFLICT", "NOT WRITTEN")
    return next((line for line in lines if line.startswith(marks)), lines[0] if lines else "")


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
    return Finding("dns agent", GREEN, f"published, {state['ipv4']}")


def _age(text: Any, now: float) -> float | None:
    """Seconds since a time as in ISO 8601; None when there is none."""
    try:
        return now - datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def check_backup(
    config: Config, now: float, state_path: Path = BACKUP_STATE, fragment: Path = BACKUP_FRAGMENT
) -> Finding:
    """Judge the backups by their state file."""
    todo = "journalctl -u hearth-backup -n 50; systemctl start hearth-backup"
    state = _read(state_path) or {}
    age = _age(state.get("last_success"), now)
    overdue = 3 * config.backup_interval
    for key, what in (("error", "the last backup failed"), ("check_error", "the check of the repository failed")):
        if state.get(key):
            reason = f"{what}: {state[key]}"
            return Finding("backup", RED, reason + (f"; the last good one is {hours(age)} old" if age else ""), todo)
    if age is None:
        try:
            since = now - fragment.stat().st_mtime
        except OSError:
            since = 0.0
        level = RED if since > overdue else YELLOW
        return Finding("backup", level, "none was made yet", todo)
    if age > overdue:
        return Finding("backup", RED, f"the last one is {hours(age)} old", todo)
    return Finding("backup", GREEN, f"the last one is {hours(max(age, 0))} old")
