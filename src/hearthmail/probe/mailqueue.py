"""Postfix's queue: how much waits, and how long (postqueue(1), option -j)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hearthmail.probe.commands import run
from hearthmail.probe.config import Config
from hearthmail.probe.finding import GREEN, RED, YELLOW, Finding

# Seconds by which a message may have come later than now, without that being odd.
GRAIN = 60


@dataclass(frozen=True)
class Waiting:
    """A message in the queue. `reason` is why it was put off, if it was; `id` is Postfix's name for it."""

    queue: str
    arrived: float
    recipients: tuple[str, ...]
    reason: str = ""
    id: str = ""


def parse(text: str) -> list[Waiting]:
    """Read the lines of `postqueue -j`, one JSON object each.

    :raises ValueError: for what is none.
    """
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("a line of postqueue is no object")
        recipients = data.get("recipients", [])
        reasons = [str(one["delay_reason"]) for one in recipients if one.get("delay_reason")]
        found.append(
            Waiting(
                str(data.get("queue_name", "")),
                float(data.get("arrival_time", 0)),
                tuple(str(one.get("address", "")) for one in recipients),
                reasons[0] if reasons else "",
                str(data.get("queue_id", "")),
            )
        )
    return found


def read() -> list[Waiting] | str:
    """The queue; or why it cannot be read."""
    done = run(["postqueue", "-j"], 15)
    if done.code:
        return done.said
    try:
        return parse(done.out)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return f"postqueue's answer cannot be understood: {error}"


def hours(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def _mailbox(address: str) -> str:
    """The mailbox of an address: what stands behind a plus is its owner's matter (Postfix's recipient_delimiter)."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def put_off(domains: Sequence[str], queue: Sequence[Waiting], now: float) -> tuple[str, ...]:
    """Queue ids of what waits for its next try and is for a mailbox here.

    The oldest of each mailbox first, then the second of each: one whose mail always fails keeps nobody else's back.
    What came while the clock was early waits in `incoming` too, until then: qmgr leaves alone what lies ahead.
    """
    turns: Counter[str] = Counter()
    found: list[tuple[int, str]] = []
    for one in sorted(queue, key=lambda one: one.arrived):
        here = {_mailbox(address) for address in one.recipients if address.rpartition("@")[2].lower() in domains}
        waits = one.queue == "deferred" or (one.queue == "incoming" and one.arrived > now + GRAIN)
        if waits and here and one.id:
            found.append((min(turns[mailbox] for mailbox in here), one.id))
            turns.update(here)
    return tuple(name for _, name in sorted(found, key=lambda one: one[0]))


def judge(config: Config, queue: Sequence[Waiting] | str, now: float) -> Finding:
    """Judge number and age. The probe's own messages do not count: they have a part of their own."""
    if isinstance(queue, str):
        return Finding("queue", YELLOW, f"cannot be read: {queue}", "postqueue -p", known=False)
    return replace(_judge(config, queue, now), put_off=put_off(config.domains, queue, now))


def _judge(config: Config, queue: Sequence[Waiting], now: float) -> Finding:
    own = config.mailbox.address if config.mailbox else ""
    others = [one for one in queue if own not in one.recipients]
    if not others:
        return Finding("queue", GREEN, "empty")
    oldest = min(others, key=lambda one: one.arrived)
    age = now - oldest.arrived
    reason = f"{len(others)} waiting, the oldest for {hours(max(age, 0))}"
    if oldest.reason:
        reason += f" ({oldest.reason})"
    if age > config.queue_red:
        level = RED
    elif age > config.queue_yellow or len(others) > config.queue_messages:
        level = YELLOW
    else:
        return Finding("queue", GREEN, reason)
    return Finding("queue", level, reason, "postqueue -p; once the cause is gone: postqueue -f")
