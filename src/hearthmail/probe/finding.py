"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

GREEN, YELLOW, RED = "green", "yellow", "red"
# Also the exit codes of `check` and `status`.
LEVELS = (GREEN, YELLOW, RED)

# Steps of a repair, in the order in which they are tried. `wait` gives it one more round; `flush` has Postfix try
# at once what it has put off; `wake` lets stopped processes go on.
WAIT, FLUSH, WAKE, RESTART, CHAIN, REBOOT = "wait", "flush", "wake", "restart", "chain", "reboot"


@dataclass(frozen=True)
class Finding:
    """The state of one part.

    :param todo: what a person can do, a command or a variable; empty when there is nothing to do.
    :param unit: the systemd unit that a `restart` restarts.
    :param repair: what may mend it; nothing for what no restart mends (a full disk, an old queue).
    :param known: False when the check could not be made because of another part: it is neither red nor well again.
    :param no_room: the disk is full, which neither a restart nor a reboot mends.
    :param close: the unit that is to be stopped until this is over.
    :param put_off: queue ids of the messages for mailboxes here that wait for Postfix's next try; the first of each
        mailbox come first.
    :param hold: rounds in which nothing is done about it and nobody is told: it passes by itself, as a rule.
    """

    part: str
    level: str
    reason: str
    todo: str = ""
    unit: str = ""
    repair: tuple[str, ...] = ()
    known: bool = True
    no_room: bool = False
    close: str = ""
    hold: int = 0
    put_off: tuple[str, ...] = ()


def worst(findings: Iterable[Finding]) -> str:
    """The level of them all together; green when there is nothing."""
    return LEVELS[max((LEVELS.index(finding.level) for finding in findings), default=0)]
