"""The box and its disk are gone while mail is on its way; one command on a bare box elsewhere brings it back."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drill import record, stream
from tests.drill.controller import Controller, make_kit
from tests.flow import lab
from tests.flow.lab import HANAKO, TARO
from tests.flow.sieve import Sieve

SCRIPT = (
    'require ["fileinto", "mailbox"];\nif header :contains "subject" "for the shelf" { fileinto :create "Shelf"; }\n'
)
PASSPHRASE = "a passphrase of the drill"
# uid -> (message, flags)
Folder = tuple[int, dict[int, tuple[bytes, frozenset[bytes]]]]


def folders(user: str) -> dict[str, Folder]:
    """Give all that an IMAP program remembers of a mailbox: UIDVALIDITY, UIDs, flags of each folder."""
    found = {}
    with lab.inbox(user) as session:
        for name in lab.folder_names(session):
            validity = session.select_folder(name, readonly=True)[b"UIDVALIDITY"]
            parts = ["FLAGS", "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"]
            messages = {
                uid: (
                    next(value for key, value in entry.items() if key.startswith(b"BODY[")),
                    frozenset(entry[b"FLAGS"]) - {b"\\Recent"},
                )
                for uid, entry in session.fetch(session.search(["ALL"]), parts).items()
            }
            found[name] = (validity, messages)
    return found


def tls_key() -> str:
    """Give the public key that the box shows the world."""
    show = "openssl s_client -connect mail.hearth.example:25 -starttls smtp </dev/null 2>/dev/null"
    command = f"{show} | openssl x509 -noout -pubkey"
    return lab.out("hearth-roamer", "sh", "-c", command)


# Where the rebuild is killed, one after the other: packages, mail on its way, mail in place and no mail programs yet,
# half of them, all of them but the world not told. A line of Ansible's output each. Two of them in the short form.
STAGES = [
    ("restore-all began", "TASK [Wait until the box is well"),
    (
        "TASK [base : Install the packages of all roles",
        "restore-all began",
        "TASK [certificates : ",
        "TASK [postfix : ",
        "TASK [Wait until the box is well",
    ),
][record.LONG]


class Drill:
    """What there was, what happened, what came back."""

    def __init__(self, folder: Path) -> None:
        """Fill mailboxes, back up, lose the box in the middle of a stream, rebuild it from another computer.

        :param folder: for the recovery kit, and for the other computer, which has nothing but that.
        """
        self._fill()
        kit = make_kit("lab", PASSPHRASE, folder)
        self.before = {user: folders(user) for user in (HANAKO, TARO)}
        self.key = tls_key()
        backup = lab.playbook("playbooks/backup.yml")
        self.backup_output = backup.stdout
        self.backup_at = time.time()
        with stream.Stream(HANAKO, rate=2) as sending:
            lab.wait_for(lambda: len(sending.sent) >= 10, 60, "ten messages of the stream being sent")
            lab.kill("hearth-home")
            self.died_at = time.time()
            lab.playbook("molecule/shared/home.yml")
            lab.forget()
            lab.move(wan_address="198.51.100.23")
            # What the dead box had said 250 to; all of that came after the backup. Not asked sooner: the sender's
            # server writes its log, and this drill its list, a moment after the 250. The bare box takes nothing.
            self.accepted = stream.delivered() & {one.token for one in sending.sent}
            other = Controller.fresh(folder / "clone", without="lab")
            other.open_kit(kit, PASSPHRASE)
            start = time.monotonic()
            self.killed = [other.playbook_killed("lab", "playbooks/rebuild.yml", stage) for stage in STAGES]
            last = time.monotonic()
            self.rebuild = other.playbook("lab", "playbooks/rebuild.yml")
            self.seconds, self.last_seconds = time.monotonic() - start, time.monotonic() - last
            lab.world_forgets(*lab.DOMAINS)
            after = len(sending.sent)
            lab.wait_for(lambda: len(sending.sent) >= after + 5, 60, "mail being sent after the rebuild")
            sending.stop()
            lab.wait_for(lambda: not stream.peer_queue(), 240, "the sender's queue being empty")
            self.flowing = time.monotonic() - start
        self.sent = sending.sent

    def _fill(self) -> None:
        tokens = [lab.submit(lab.message(TARO, HANAKO)) for _ in range(6)]
        for token in tokens:
            lab.wait_for_mail(HANAKO, token)
        with lab.inbox(HANAKO, readonly=False) as session:
            for name in ("Work", "Work/2026"):
                if not session.folder_exists(name):
                    session.create_folder(name)
            uids = [lab.found(session, token)[0] for token in tokens]
            session.add_flags(uids[0], [b"\\Seen", b"\\Flagged"])
            session.add_flags(uids[1], [b"\\Answered", b"$Important"])
            session.move(uids[2:4], "Work/2026")
            session.delete_messages(uids[4])
            session.expunge()
        sieve = Sieve("hearth-pc", TARO)
        sieve.put("shelf", SCRIPT)


@pytest.fixture(scope="module")
def drill() -> Iterator[Drill]:
    """Lose the box and rebuild it, once for all tests here."""
    # A short path: SSH's sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="hm", dir="/tmp") as folder:
        yield Drill(Path(folder))
    lab.restore_line()


def test_everything_but_the_recovery_point_is_there_once(drill: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    count = stream.count(drill.sent, HANAKO)
    with capsys.disabled():
        print(
            f"\nSent {count.sent}, arrived {count.arrived}, doubled {len(count.doubled)}, "
            f"changed {len(count.changed)}; lost {len(count.missing)} of the {len(drill.accepted)} accepted between "
            f"the backup and the death ({drill.died_at - drill.backup_at:.0f} s). "
            f"Rebuilt from the recovery kit, killed {len(drill.killed)} times, in {drill.seconds:.0f} s (the last run "
            f"{drill.last_seconds:.0f} s), all mail in after {drill.flowing:.0f} s."
        )
    record.write("disk lost, rebuilt from the kit", count, drill.flowing)
    assert not count.doubled, stream.story(count.doubled)
    assert not count.changed
    # What the old box had accepted after the backup, and nothing else: no backup can hold that.
    assert drill.accepted
    assert {one.token for one in count.missing} == drill.accepted


def test_folders_flags_and_uids_are_as_at_the_backup(drill: Drill) -> None:
    for user, before in drill.before.items():
        after = folders(user)
        assert set(after) == set(before)
        for name, (validity, messages) in before.items():
            assert {uid: after[name][1].get(uid) for uid in messages} == messages, f"{name} of {user}"
            # Dovecot writes the list of UIDs with the first message: where there is none, nothing is remembered.
            assert not messages or after[name][0] == validity, f"UIDVALIDITY of {name} of {user}"


def test_new_mail_gets_uids_of_its_own(drill: Drill) -> None:
    before = max(drill.before[HANAKO]["INBOX"][1])
    new = set(folders(HANAKO)["INBOX"][1]) - set(drill.before[HANAKO]["INBOX"][1])
    assert new
    assert min(new) > before


def test_the_filter_works(drill: Drill) -> None:
    token = lab.submit_at_peer(lab.message(lab.ALICE, TARO, subject="One for the shelf"))
    lab.wait_for(lambda: lab.count(TARO, token), 60, "the message that the filter sorts")
    lab.wait_for_mail(TARO, token, folder="Shelf")


def test_the_key_is_the_same(drill: Drill) -> None:
    assert drill.key
    assert tls_key() == drill.key


def test_the_dns_has_moved(drill: Drill) -> None:
    assert lab.published(lab.MAIL_NAME) == ["198.51.100.23"]


def test_it_was_killed_at_each_stage(drill: Drill) -> None:
    assert [stage in line for stage, line in zip(STAGES, drill.killed, strict=True)] == [True] * len(STAGES)


@pytest.mark.parametrize("unit", ["postfix.service", "dovecot.service"])
def test_what_takes_mail_in_was_started_once(drill: Drill, unit: str) -> None:
    # Not before it was configured; and not again while mail came in: what Dovecot has stored and not yet answered would
    # be handed over once more.
    log = lab.out("hearth-home", "journalctl", "-u", unit, "-o", "cat", "--no-pager")
    assert log.count(f"Started {unit}") == 1, log


def test_its_progress_is_seen_at_the_controller(drill: Drill) -> None:
    assert "hearth-home: hearth-backup restore-all is done" in drill.rebuild.stdout


@pytest.mark.parametrize("timer", ["hearth-backup.timer", "hearth-backup-check.timer", "hearth-probe.timer"])
def test_it_goes_on_by_itself(drill: Drill, timer: str) -> None:
    assert lab.out("hearth-home", "systemctl", "is-active", timer) == "active"
    assert lab.out("hearth-home", "systemctl", "is-enabled", timer) == "enabled"


def test_the_backup_reported(drill: Drill) -> None:
    assert '"snapshot"' in drill.backup_output, drill.backup_output[-3000:]


def test_the_report_says_what_came_back_and_what_is_missing(drill: Drill) -> None:
    report = drill.rebuild.stdout
    assert "Came back:" in report, report[-3000:]
    assert "Missing: what the old box accepted" in report


def test_it_does_not_run_over_mail(drill: Drill) -> None:
    refused = lab.playbook("playbooks/rebuild.yml", check=False)
    assert refused.returncode
    assert "rebuild_over_mail=true" in refused.stdout
    assert lab.recap(refused)["changed"] == 0


def test_the_box_cannot_delete_its_backups(drill: Drill) -> None:
    environment: dict[str, Any] = {
        "RESTIC_REPOSITORY": "rest:https://hearth:hearth-secret@backup.isp.example:8000/hearth/",
        "RESTIC_PASSWORD": "backup-secret",
    }
    settings = [f"{key}={value}" for key, value in environment.items()]
    before = lab.out("hearth-home", "env", *settings, "restic", "snapshots", "--json")
    # restic says so, and ends as if all were well.
    tried = lab.run("hearth-home", "env", *settings, "restic", "forget", "latest", check=False)
    assert "unable to remove snapshot" in tried.stdout + tried.stderr
    assert lab.out("hearth-home", "env", *settings, "restic", "snapshots", "--json") == before


def test_one_folder_comes_back_as_it_was_beside_what_is_there(drill: Drill) -> None:
    name = "Work/2026"
    then = drill.before[HANAKO][name][1]
    at = datetime.datetime.fromtimestamp(drill.backup_at, tz=datetime.UTC).isoformat()
    # Since then one has gone, one has come, and a newer backup knows only that.
    with lab.inbox(HANAKO, readonly=False, folder=name) as session:
        session.delete_messages(min(then))
        session.expunge()
        session.append(name, lab.message(TARO, HANAKO).as_bytes())
    lab.run("hearth-home", "hearth-backup", "run")
    before = folders(HANAKO)
    assert before[name][1] != then
    lab.playbook("playbooks/restore.yml", extra={"user": HANAKO, "at": at, "folder": name})
    after = folders(HANAKO)
    for one, state in before.items():
        assert after[one] == state, one
    new = [after[one][1] for one in set(after) - set(before)]
    # UIDs belong to a folder; the messages and their flags are the same.
    assert sorted(then.values(), key=repr) in [sorted(found.values(), key=repr) for found in new], new
