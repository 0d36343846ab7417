"""A backup by this release's restic and Dovecot, and a whole mailbox as it was then, beside what is there now."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.flow import lab
from tests.flow.lab import ALICE, HANA

FOLDER = "Kept/2026"
INTO = "As it was"
# message's token -> flags
Messages = dict[str, frozenset[bytes]]


def holds(folder: str) -> Messages:
    """Give what a folder of the mailbox holds."""
    with lab.inbox(HANA, folder=folder) as session:
        parts = ["FLAGS", "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"]
        uids = session.search(["ALL"])
        entries = session.fetch(uids, parts).values() if uids else []
        return {
            next(value for key, value in entry.items() if key.startswith(b"BODY["))
            .decode(errors="replace")
            .partition("<")[2]
            .partition("@")[0]: frozenset(entry[b"FLAGS"]) - {b"\\Recent"}
            for entry in entries
        }


def now() -> str:
    """Give the box's time, as it may be typed; a backup is made within a second."""
    return datetime.datetime.now(tz=datetime.UTC).isoformat()


@pytest.fixture(scope="module")
def folders() -> Iterator[None]:
    """Take the test's folders away at the end: all that arrived is counted once more, in all folders."""
    yield
    with lab.inbox(HANA) as session:
        for name in (FOLDER, "Kept", f"{INTO}/{FOLDER}", f"{INTO}/Kept", f"{INTO}/INBOX", INTO):
            if session.folder_exists(name):
                session.delete_folder(name)
        left = [name for name in lab.folder_names(session) if name.startswith((INTO, "Kept"))]
    assert not left


def test_a_mailbox_as_it_was(folders: None) -> None:
    # The messages stay out of the count at the end: they are there twice on purpose, and then not at all.
    tokens = [lab.submit_at_peer(lab.message(ALICE, HANA)) for _ in range(3)]
    for token in tokens:
        lab.wait_for_mail(HANA, token)
        lab.arrived.discard((HANA, token))
    with lab.inbox(HANA, readonly=False) as session:
        session.create_folder(FOLDER)
        uids = [lab.found(session, token)[0] for token in tokens]
        session.add_flags(uids[0], [b"\\Seen", b"\\Flagged", b"$Important"])
        session.move(uids, FOLDER)
    then = holds(FOLDER)
    assert set(then) == set(tokens)
    lab.run("hearth-home", "hearth-backup", "run")
    at = now()

    # Afterwards one is deleted, one is read, and a newer backup knows nothing else.
    with lab.inbox(HANA, readonly=False, folder=FOLDER) as session:
        session.delete_messages(lab.found(session, tokens[0]))
        session.add_flags(lab.found(session, tokens[1]), [b"\\Seen"])
        session.expunge()
    changed = holds(FOLDER)
    assert changed != then
    lab.run("hearth-home", "hearth-backup", "run")

    lab.run("hearth-home", "hearth-backup", "restore-user", "--user", HANA, "--at", at, "--into", INTO)
    assert holds(f"{INTO}/{FOLDER}") == then
    assert holds(FOLDER) == changed, "what is there now was touched"


def test_the_weekly_check_reads_a_sample_and_finds_nothing() -> None:
    path = lab.path_of("hearth-home", "/var/lib/hearthmail/backup/state.json")
    before = json.loads(path.read_text()).get("last_check")
    lab.run("hearth-home", "systemctl", "start", "hearth-backup-check.service")
    after = json.loads(path.read_text())
    assert after["last_check"] != before
    assert after["check_error"] is None


@pytest.mark.parametrize("timer", ["hearth-backup", "hearth-backup-check", "hearth-probe"])
def test_it_goes_by_itself(home: Host, timer: str) -> None:
    assert home.service(f"{timer}.timer").is_running
    assert home.service(f"{timer}.timer").is_enabled
