"""Dovecot goes away in the middle of something: each delivery is stored once, a backup lacks nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.drill import faults, record
from tests.flow import lab

HOME = faults.HOME
BACKUP = "hearth-backup.service"
DOVECOT = "dovecot.service"
MESSAGES, KILLS = (2000, 20) if record.LONG else (300, 6)
# Has the box take messages faster than it delivers them, so that Dovecot is at one at any moment.
FILL = """
import smtplib, sys
recipient, token, count = sys.argv[1:]
with smtplib.SMTP("127.0.0.1", 25) as box:
    for n in range(int(count)):
        text = f"Message-ID: <{token}-{n}@peer.example>\\r\\nSubject: {n}\\r\\n\\r\\nHello.\\r\\n"
        box.sendmail("alice@peer.example", [recipient], text)
"""


def waiting() -> int:
    """Count what the box has still to deliver."""
    return len(lab.queue())


def delivers(left: int) -> bool:
    """Have the box try all that waits, and tell whether less than `left` does.

    Again and again: what it tried while Dovecot was not there yet waits for a minute, however soon Dovecot comes.
    """
    lab.run(HOME, "postqueue", "-f")
    return waiting() < left


def stored(user: str, token: str) -> Counter[str]:
    """Count the copies of each message of ours in a mailbox."""
    with lab.inbox(user) as session:
        uids = session.search(["HEADER", "Message-ID", token])
        found = session.fetch(uids, ["ENVELOPE"]) if uids else {}
    return Counter(one[b"ENVELOPE"].message_id.decode() for one in found.values())


@pytest.fixture(autouse=True)
def no_probe() -> Iterator[None]:
    """Keep the probe from its looks: a Dovecot dead at three of them has it restart all mail services, then the box."""
    lab.run(HOME, "systemctl", "stop", "hearth-probe.timer", "hearth-probe.service")
    yield
    faults.forget_faults()


@pytest.mark.timeout(900)
def test_what_is_at_delivery_when_dovecot_is_killed_is_stored_once() -> None:
    token = lab.new_token()
    lab.run(HOME, "python3", "-c", FILL, lab.HANA, token, str(MESSAGES))
    kills = 0
    while kills < KILLS and (left := waiting()):
        # systemd leaves a service alone that dies again and again.
        lab.run(HOME, "systemctl", "reset-failed", DOVECOT)
        lab.wait_for(lambda left=left: delivers(left), 60, "the box being at its deliveries")
        pid = faults.main_pid(DOVECOT)
        faults.kill(DOVECOT)
        kills += 1
        lab.wait_for(lambda pid=pid: faults.main_pid(DOVECOT) not in ("0", pid), 60, "Dovecot being there again")
    lab.wait_for(lambda: delivers(1), 120, "all of them being delivered")
    lab.wait_for(lambda: lab.opens("hearth-pc", lab.MAIL_NAME, 993), 60, "Dovecot answering")
    copies = stored(lab.HANA, token)
    assert kills >= KILLS // 2, "they were all delivered before it could be killed"
    assert len(copies) == MESSAGES
    assert {name: count for name, count in copies.items() if count > 1} == {}


def test_a_backup_waits_for_a_dovecot_that_is_away() -> None:
    mail = lab.message(lab.TARO, lab.HANA)
    lab.submit(mail)
    lab.wait_for_mail(lab.HANA, lab.token_of(mail))
    lab.run(HOME, "systemctl", "stop", DOVECOT)
    try:
        lab.run(HOME, "systemctl", "start", "--no-block", BACKUP)
        said = "waiting for Dovecot"
        lab.wait_for(lambda: said in lab.run(HOME, "hearth-backup", "status", check=False).stdout, 60, said)
    finally:
        lab.run(HOME, "systemctl", "start", DOVECOT)
    lab.wait_for(lambda: lab.out(HOME, "systemctl", "show", BACKUP, "-P", "SubState") != "start", 120, "its end")
    assert lab.out(HOME, "systemctl", "show", BACKUP, "-P", "Result") == "success"
