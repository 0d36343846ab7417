"""The mails to a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from hearthmail.probe.commands import run
from hearthmail.probe.finding import Finding
from hearthmail.probe.memory import Fault, Letter

# What was tried, in words.
TRIED = {
    "flush": "a new try of the waiting mail",
    "wake": "a wake-up of its processes",
    "restart": "a restart of the service",
    "chain": "a restart of all mail services",
    "reboot": "a reboot",
}


def clock(at: float) -> str:
    """A time of the day, as at home."""
    return time.strftime("%H:%M", time.localtime(at))


def day(at: float) -> str:
    """Day and time, as at home."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _about(finding: Finding, fault: Fault) -> list[str]:
    lines = [f"{finding.part}: {finding.reason}", f"  red since {day(fault.since)}"]
    tried = [TRIED[step] for step in fault.steps if step in TRIED]
    if tried:
        lines.append(f"  tried without success: {', '.join(tried)}")
    if finding.todo:
        lines.append(f"  what to do: {finding.todo}")
    return lines


def fault(
    hostname: str, now: float, due: Sequence[Finding], needy: Sequence[Finding], faults: Mapping[str, Fault]
) -> Letter:
    """What is wrong: `due` is what this letter is for, `needy` all that needs a person."""
    lines = []
    for finding in [*due, *(one for one in needy if one not in due)]:
        lines += [*_about(finding, faults[finding.part]), ""]
    lines += [
        "On the box, `hearth-probe status` shows how it is now. You hear again when all is well,",
        "or after a day, if it is not.",
    ]
    subject = f"{hostname}: {', '.join(finding.part for finding in due)} needs you"
    return Letter(now, subject, "\n".join(lines) + "\n")


def well_again(hostname: str, now: float, told: Mapping[str, Fault]) -> Letter:
    """All that was told is over."""
    lines = [f"{part}: well again (it was: {one.reason}; since {day(one.since)})" for part, one in told.items()]
    return Letter(now, f"{hostname}: all is well again", "\n".join(lines) + "\n")


def send(letter: Letter, hostname: str, to: str) -> str:
    """Give a letter to the mail system; gives why that failed, empty when it did not."""
    message = EmailMessage()
    message["From"] = f"hearth-probe@{hostname}"
    message["To"] = to
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(localtime())
    # RFC 3834: nobody's holiday note answers it.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.body)
    # Without a sender: when it cannot be delivered, nothing comes back.
    done = run(["/usr/sbin/sendmail", "-i", "-f", "<>", "--", to], 20, message.as_string())
    return done.said if done.code else ""
