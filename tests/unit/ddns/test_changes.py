"""What is run when the address has changed: with the right words, in order, and never without end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from hearthmail.ddns import changes
from hearthmail.ddns.changes import Addresses
from hearthmail.ddns.config import parse
from hearthmail.ddns.state import State

from .conftest import CONFIG

OLD = Addresses("198.51.100.10", "2001:db8:77::2")
NEW = Addresses("198.51.100.23", "")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "run" / "changes").mkdir(parents=True)
    return tmp_path / "run" / "changes"


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    (tmp_path / "ddns.d").mkdir()
    return tmp_path / "ddns.d"


def program(hooks: Path, name: str, body: str, mode: int = 0o755) -> Path:
    path = hooks / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


def test_what_is_published_is_read_from_the_state() -> None:
    config = parse(CONFIG)
    owned = {"hearth.example|mail|A": ["198.51.100.10"], "hearth.example||MX": ["10 mail.hearth.example."]}
    assert changes.published(config, State(owned=owned)) == Addresses("198.51.100.10", "")
    assert changes.published(config, None) == Addresses()


def test_a_change_reaches_the_programs_once(notes: Path, hooks: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    program(hooks, "10-first", f'echo "$HEARTH_OLD_IPV4 $HEARTH_NEW_IPV4 [$HEARTH_NEW_IPV6] $HEARTH_OLD_IPV6" >>{said}')
    program(hooks, "20-second", f"echo second >>{said}")
    changes.announce(OLD, NEW, notes)
    assert changes.work_off(notes, hooks) == []
    assert said.read_text() == "198.51.100.10 198.51.100.23 [] 2001:db8:77::2\nsecond\n"
    assert not list(notes.iterdir())
    assert changes.work_off(notes, hooks) == []
    assert said.read_text().count("second") == 1


def test_many_changes_are_one(notes: Path, hooks: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    program(hooks, "one", f'echo "$HEARTH_OLD_IPV4 $HEARTH_NEW_IPV4" >>{said}')
    for count in range(5):
        one = Addresses(f"198.51.100.{count}", ""), Addresses(f"198.51.100.{count + 1}", "")
        changes.announce(*one, notes, now=lambda at=count: 1000.0 + at)
    assert changes.work_off(notes, hooks) == []
    assert said.read_text() == "198.51.100.0 198.51.100.5\n"


def test_no_change_is_no_note(notes: Path, tmp_path: Path) -> None:
    changes.announce(OLD, OLD, notes)
    assert not list(notes.iterdir())
    # Nobody waits for notes there.
    changes.announce(OLD, NEW, tmp_path / "missing")


def test_a_program_without_end_is_ended_with_its_children(notes: Path, hooks: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    program(hooks, "10-hangs", f"sleep 1000 & echo $! >{said}; wait")
    program(hooks, "20-fails", "exit 7")
    program(hooks, "30-works", f"echo works >>{said}")
    changes.announce(OLD, NEW, notes)
    begin = time.monotonic()
    wrong = changes.work_off(notes, hooks, limit=1)
    assert time.monotonic() - begin < 30
    assert [line.split(": ")[1] for line in wrong] == ["no end after 1 s", "exit code 7"]
    child, last = said.read_text().split()
    assert last == "works"
    # It is gone, or a zombie that nobody has fetched yet.
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_others_may_change_is_not_run(notes: Path, hooks: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    program(hooks, "writable", f"echo bad >{said}", 0o777)
    program(hooks, "no-program", f"echo bad >{said}", 0o644)
    program(hooks, "old.dpkg-old", f"echo bad >{said}")
    changes.announce(OLD, NEW, notes)
    wrong = changes.work_off(notes, hooks)
    assert len(wrong) == 2
    assert "others than root may change it" in wrong[1]
    assert not said.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        '{"old": {"ipv4": "$(reboot)"}, "new": {}}',
        '{"old": {"ipv4": "198.51.100.1"}, "new": {"path": "/bin"}}',
        json.dumps({"old": {"ipv4": "198.51.100.1\nLD_PRELOAD=x"}, "new": {}}),
    ],
)
def test_a_note_that_is_none_runs_nothing(text: str, notes: Path, hooks: Path, tmp_path: Path) -> None:
    program(hooks, "one", f"echo bad >{tmp_path / 'said'}")
    (notes / "1.json").write_text(text)
    assert len(changes.work_off(notes, hooks)) == 1
    assert not (tmp_path / "said").exists()
    assert not list(notes.iterdir())


def test_a_note_that_is_no_file_is_taken_away(notes: Path, hooks: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"old": {}, "new": {"ipv4": "198.51.100.66"}}))
    program(hooks, "one", f"echo bad >{tmp_path / 'said'}")
    (notes / "link.json").symlink_to(secret)
    os.mkfifo(notes / "pipe.json")
    assert len(changes.work_off(notes, hooks)) == 2
    assert not (tmp_path / "said").exists()
    assert not list(notes.iterdir())
    assert secret.exists()


def test_a_folder_among_the_notes_is_taken_away_with_all_in_it(notes: Path, hooks: Path, tmp_path: Path) -> None:
    """Whatever stays there starts us again at once, until systemd gives the path unit up."""
    others = tmp_path / "others"
    others.mkdir()
    (others / "file").write_text("stays")
    (notes / "1.json" / "inner").mkdir(parents=True)
    (notes / "1.json" / "inner" / "file").write_text("goes")
    (notes / "1.json" / "link").symlink_to(others)
    (notes / "2.json").mkdir()
    said = tmp_path / "said"
    program(hooks, "one", f'echo "$HEARTH_NEW_IPV4" >>{said}')
    changes.announce(OLD, NEW, notes)
    assert len(changes.work_off(notes, hooks)) == 2
    assert said.read_text() == "198.51.100.23\n"
    assert not list(notes.iterdir())
    assert (others / "file").read_text() == "stays"


def test_a_folder_of_others_is_not_emptied(notes: Path, hooks: Path, tmp_path: Path) -> None:
    others = tmp_path / "etc"
    others.mkdir()
    (others / "passwd").write_text("root")
    notes.rmdir()
    notes.symlink_to(others)
    assert len(changes.work_off(notes, hooks)) == 1
    assert (others / "passwd").read_text() == "root"
    notes.unlink()
    assert changes.work_off(notes, hooks) == []
