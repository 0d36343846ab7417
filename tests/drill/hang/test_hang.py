"""Things hang, die, fill up while mail streams in from a foreign server: all of it arrives, once."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.drill import faults, record, stream
from tests.drill.faults import Fault
from tests.flow import lab
from tests.flow.lab import HANAKO

# Every process in turn, killed and held: `make drill`. One of each kind everywhere else.
PROCESSES = [
    (faults.POSTFIX, "dovecot.service", "qmgr -l"),
    (
        faults.POSTFIX,
        "dovecot.service",
        "unbound.service",
        "qmgr -l",
        "cleanup -z",
        "smtpd -n smtp",
        "lmtp -t",
        "dovecot/auth",
        "dovecot/lmtp",
        "dovecot/imap-login",
    ),
][record.LONG]


def _held(name: str) -> Fault:
    unit = name if name.endswith(".service") else "dovecot.service" if "dovecot" in name else faults.POSTFIX
    happen = functools.partial(faults.stop, name)
    return Fault(f"{name} held (SIGSTOP)", happen, red=(f"processes of {unit}", "stopped by a signal"))


FAULTS = [
    *(Fault(f"{name} killed", functools.partial(faults.kill, name)) for name in PROCESSES),
    *map(_held, PROCESSES if record.LONG else PROCESSES[:2]),
    Fault("resolver down", faults.resolver_down, red=("resolver", "no answer at 127.0.0.1 port 53")),
    Fault("power cut", faults.power_cut),
    Fault("network cut", faults.network_cut),
    Fault("disk full", faults.disk_full, red=(faults.ROOM, "0 % free (0.0 GiB)"), person=faults.ROOM),
    Fault("inodes used up", faults.inodes_used_up, red=(faults.ROOM, "is stopped until there are")),
    Fault("memory used up", faults.memory_short),
    Fault("clock an hour back", faults.clock_back),
    Fault("new address", faults.new_address),
    Fault("DNS provider down", faults.provider_down, red=("dns agent", "Provider lab")),
    Fault("a hang that only a reboot ends", faults.beyond_restarts, red=("postfix", "it hangs")),
]
# Messages a second; and how many each drill sends at least.
RATE, LEAST = (4.0, 2000 // len(FAULTS) + 1) if record.LONG else (2.0, 10)
# Seconds in which a sender tries again for sure (molecule/shared/templates/hearth-peer: each 10 s), and some air.
RETRY = 120
# The same for the box's own queue: what Postfix would let wait longer, the probe has it try each five minutes.
BOX_RETRY = 400
# When the first message took longer than this, in seconds, though nothing had to be red for it, its log is printed.
SLOW = 30
# Messages which the sender may send again: those on their way at the moment of the fault. Before the probe closed
# port 25, a disk without inodes made 75.
MOST_REPEATED = 10


@dataclass(frozen=True)
class Drill:
    """What came of one fault.

    :param first: the first message that was sent afterwards, by its token.
    :param seconds: until it was in the mailbox.
    """

    fault: Fault
    first: str
    count: stream.Count
    seconds: float
    letters: list[str]


def run_drill(fault: Fault) -> Drill:
    """Let a fault happen in the middle of a stream of mail, and count."""
    letters = len(faults.letters())
    with faults.Watch() as watch, stream.Stream(HANAKO, RATE) as sending:
        lab.wait_for(lambda: len(sending.sent) >= 3, 60, "mail being sent")
        since = fault.happen()
        lab.wait_for(lambda: sending.sent[-1].at > since, 60, "mail being sent afterwards")
        first = next(one for one in sending.sent if one.at > since)
        lab.wait_for(lambda: stream.is_there(HANAKO, first.token), RETRY + 300, "mail flowing again")
        seconds = time.time() - since
        if fault.red[0]:
            lab.wait_for(lambda: watch.saw(*fault.red), 60, f"the box having said {fault.red} (it said {watch.seen})")
        lab.wait_for(lambda: len(sending.sent) >= LEAST, 600, "as many messages as this drill sends")
        sending.stop()
    lab.wait_for(lambda: not stream.peer_queue(), RETRY, "the sender's queue being empty")
    lab.wait_until_delivered(BOX_RETRY)
    if fault.red[0]:
        faults.wait_until_well()
    if fault.person:
        faults.wait_for_all_clear()
    return Drill(fault, first.token, stream.count(sending.sent, HANAKO), seconds, faults.letters()[letters:])


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Begin each drill with a box that is well and remembers no fault."""
    faults.forget_faults()
    faults.wait_until_well()


@pytest.fixture(scope="module", autouse=True)
def line() -> Iterator[None]:
    """End with the line as it was."""
    yield
    lab.restore_line()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_nothing_is_lost(fault: Fault, capsys: pytest.CaptureFixture[str]) -> None:
    drill = run_drill(fault)
    with capsys.disabled():
        print(f"\n{fault.name}: {drill.count}; mail flows after {drill.seconds:.0f} s; letters: {drill.letters}")
        if drill.seconds > SLOW and not fault.red[0]:
            print(stream.story([drill.first]))
    record.write(fault.name, drill.count, drill.seconds)
    assert not drill.count.missing
    assert not drill.count.doubled, stream.story(drill.count.doubled)
    assert not drill.count.changed
    assert len(drill.count.repeated) <= MOST_REPEATED
    told = faults.told(drill.letters)
    assert set(told.values()) <= {1}, drill.letters
    if fault.person:
        assert told[fault.person] == 1
        assert len(drill.letters) == 2, drill.letters
