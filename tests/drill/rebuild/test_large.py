"""Mailboxes of 1,000 and 100,000 messages (2 GB): what backups cost, how long a rebuild takes. Only in `make drill`."""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.drill import record, weights
from tests.drill.rebuild.test_backup import backup, mail_flows, remembered
from tests.flow import lab
from tests.flow.lab import HANA, TARO

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

HOME = "hearth-home"
FEW, MESSAGES, BYTES = 1000, 100_000, 20_000
# In ten folders, as somebody has who has kept everything for years.
FILL = """
import base64, os, pwd, sys
owner, (root, count, size) = pwd.getpwnam("vmail"), sys.argv[1:]
for n in range(int(count)):
    folder = f"{root}/.Archive.{n % 10}"
    if n < 10:
        for path in (folder, *(f"{folder}/{one}" for one in ("cur", "new", "tmp"))):
            os.makedirs(path, exist_ok=True)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        open(f"{folder}/maildirfolder", "w").close()
    path = f"{folder}/cur/{1_600_000_000 + n}.M{n}P1.drill:2,S"
    text = base64.encodebytes(os.urandom(int(size) * 3 // 4)).decode()
    with open(path, "w") as file:
        file.write(f"From: a@b.example\\nMessage-ID: <large-{n}@drill>\\nSubject: {n}\\n\\n{text}")
    os.chown(path, owner.pw_uid, owner.pw_gid)
"""
# Messages whose way through the box is timed, and seconds from one to the next: none has to wait for another.
TIMED, PACE = 150, 0.2
# What a backup of no work at all would cost: a process that has the rights of hearth-backup.service and only computes.
COMPUTES = """
systemd-run --quiet --unit=computes -p CPUSchedulingPolicy=idle -p CPUWeight=idle sh -c 'while :; do :; done'
"""


def timed(work: Callable[[], object]) -> float:
    """Give how long something takes, in seconds."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def way(going_on: Callable[[], bool] = lambda: True) -> float:
    """Deliver messages from the world; gives how long each was in the box, by Postfix's own log: the mean in seconds.

    Into an empty mailbox each time, of which nothing is known: Dovecot needs longer for one with more messages.
    """
    lab.run(HOME, "doveadm", "expunge", "-u", HANA, "mailbox", "INBOX", "all")
    lab.run(HOME, "rm", "-f", "/var/vmail/second.example/hana/.dovecot.lda-dupes")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    with lab.smtp("hearth-roamer") as session:
        for _ in range(TIMED):
            if not going_on():
                break
            session.send_message(lab.message(lab.ALICE, HANA), from_addr=lab.ALICE)
            time.sleep(PACE)
    lab.wait_until_delivered(120)
    log = lab.out(HOME, "journalctl", "-u", "postfix*", "-o", "cat", "--no-pager", "--since", since)
    found = re.findall(r"to=<hana@second\.example>.* delay=([\d.]+),.*status=sent", log)
    assert len(found) >= TIMED / 3, "too few to say anything"
    return statistics.mean(map(float, found))


def fill(user: str, messages: int) -> None:
    """Fill a mailbox."""
    with lab.inbox(user):  # The first login makes the mailbox, with the right owner.
        pass
    lab.run(HOME, "python3", "-c", FILL, lab.maildir(user), str(messages), str(BYTES))


def rebuild(user: str, messages: int) -> str:
    """Lose the box and its disk, rebuild it, and say what that took; gives what the rebuild printed."""
    lab.kill(HOME)
    lab.playbook("molecule/shared/home.yml")
    lab.forget()
    start = time.monotonic()
    rebuilt = lab.playbook("playbooks/rebuild.yml")
    record.number(f"rebuild with {messages:,} messages, bare box to the end, seconds", time.monotonic() - start)
    mail_flows()
    record.number(f"rebuild with {messages:,} messages, to mail that flows, seconds", time.monotonic() - start)
    names = lab.out(HOME, "sh", "-c", f"find {lab.maildir(user)} -path '*Archive*' -name '*:2,S' | wc -l")
    assert int(names) == messages
    return rebuilt.stdout


def test_the_rebuild_of_a_small_mailbox() -> None:
    fill(HANA, FEW)
    backup()
    rebuild(HANA, FEW)
    lab.run(HOME, "rm", "-r", "/var/vmail/second.example/hana")


@pytest.fixture(scope="module")
def large() -> None:
    """Fill taro's mailbox, back it up, and say what that took."""
    fill(TARO, MESSAGES)
    record.number("first backup of 100,000 messages (2 GB), seconds", timed(backup))


@pytest.mark.usefixtures("large")
def test_an_hourly_run_over_unchanged_mail() -> None:
    backup()  # What changed within the clock's grain is looked at twice.
    lab.wait_for(lambda: remembered()["error"] is None, 10, "a good backup")
    seconds = timed(backup)
    record.number("hourly run over 100,000 unchanged messages, seconds (goal 30)", seconds)
    assert seconds < 120


@pytest.fixture
def on_another_machine() -> Iterator[None]:
    """Let the place of the backups work only when nobody else in the lab does: its processor is not the box's."""

    def share(weight: int) -> None:
        subprocess.run(["podman", "update", f"--cpu-shares={weight}", "hearth-backup"], check=True, capture_output=True)

    share(2)
    yield
    share(1024)  # what a container has


@pytest.fixture
def in_milliseconds() -> Iterator[None]:
    """Have Postfix log a delay to more than the hundredth of a second: the whole way takes two of them."""

    def log_digits(number: int) -> None:
        lab.run(HOME, "postconf", "-e", f"delay_logging_resolution_limit={number}")
        lab.run(HOME, "systemctl", "reload", "postfix")

    log_digits(4)
    yield
    log_digits(2)  # Postfix's default


def is_backed_up() -> bool:
    """Tell whether a backup runs."""
    return lab.out(HOME, "systemctl", "show", "hearth-backup", "-P", "ActiveState") == "activating"


@contextlib.contextmanager
def backups_follow_each_other() -> Iterator[None]:
    """Have the box back up again and again: each time only what is new, as each hour."""
    enough = threading.Event()

    def work() -> None:
        while not enough.is_set():
            lab.run(HOME, "systemctl", "start", "hearth-backup")

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            enough.set()
        working.result()


@contextlib.contextmanager
def a_first_backup() -> Iterator[None]:
    """Have all of it backed up once more: the copy is gone, and the staging and the reading begin anew."""
    lab.run(HOME, "rm", "-r", "/var/lib/hearthmail/backup/mail/hearth.example/taro")
    lab.run(HOME, "systemctl", "start", "--no-block", "hearth-backup")
    lab.wait_for(is_backed_up, 30, "the backup at work")
    yield
    lab.wait_for(lambda: not is_backed_up(), 1200, "the end of the backup")


@contextlib.contextmanager
def something_computes() -> Iterator[None]:
    """Have a process with a backup's rights use a processor, and nothing else."""
    lab.run(HOME, "sh", "-euc", COMPUTES)
    yield
    lab.run(HOME, "systemctl", "stop", "computes")


@pytest.mark.usefixtures("large", "on_another_machine", "in_milliseconds")
def test_mail_is_hardly_slower_while_a_backup_runs() -> None:
    way()
    computing = "beside a process that only computes, with a backup's rights"
    busy, ratios = {}, {}
    for name, meanwhile, going_on in (
        (computing, something_computes, lambda: True),
        ("during hourly runs", backups_follow_each_other, lambda: True),
        ("during a first backup of 2 GB", a_first_backup, is_backed_up),
    ):
        # A quiet box before and after: the machine below us is not the same all the time.
        before = way()
        with weights.idle(HOME, "hearth-backup", "computes"), meanwhile():
            busy[name] = way(going_on)
        quiet = statistics.mean([before, way()])
        ratios[name] = busy[name] / quiet
        record.number(f"a message's way {name}, ms", 1000 * busy[name])
        record.number(f"a message's way {name}, times a quiet box's (goal 1.1)", ratios[name])
        # An idle processor has to be woken, which on some virtual machines takes long: that is no merit of the backup.
        if name != computing:
            record.number(f"a message's way {name}, times that {computing}", busy[name] / busy[computing])
    assert max(ratios.values()) < 3


@pytest.mark.usefixtures("large")
def test_the_rebuild() -> None:
    backup()
    said = rebuild(TARO, MESSAGES)
    found = re.search(r"restore-all is done after (\d+) s", said)
    assert found, said[-2000:]
    copy = timed(lambda: lab.run(HOME, "sh", "-euc", "cp -a /var/vmail/hearth.example/taro /srv/copy; sync"))
    record.number("its restore against a plain copy of the same tree, times as long", float(found[1]) / copy)
    with lab.inbox(TARO, folder="Archive/3") as session:
        assert len(session.search(["SEEN"])) == MESSAGES // 10
