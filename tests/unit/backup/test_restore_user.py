"""One mailbox, or one folder, as it was: into a new folder."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hearthmail.backup import state
from tests.unit.backup.conftest import World

HANAKO = "hanako@hearth.example"
AT = "2026-11-23 08:00+00:00"


@pytest.fixture
def past(world: World) -> World:
    """Backups of 07:00 and 09:00 UTC; the message `late` came between them."""
    (world.fakes / "restic.time").write_text("2026-11-23T07:00:00.123456789Z")
    assert world.run("run") == 0
    world.deliver(HANAKO, "late")
    (world.fakes / "restic.time").write_text("2026-11-23T18:00:00+09:00")
    assert world.run("run") == 0
    return world


def restore(world: World, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = world.run("restore-user", "--user", HANAKO, "--at", AT, "--json", *more)
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("restic", "dovecot"), [("0.14", "2.3.19.1"), ("0.18", "2.4.1-4")])
def test_a_mailbox(past: World, restic: str, dovecot: str, capsys: pytest.CaptureFixture[str]) -> None:
    past.versions(restic, dovecot)
    before = past.mail()
    code, report = restore(past, capsys)
    assert (code, report["messages"], report["time"]) == (0, 3, "2026-11-23T07:00:00.123456+00:00")
    assert report["into"].startswith("Restored 2026-11-2")
    came = {path.name for path in (past.path / "imports" / HANAKO / report["into"]).rglob("*:2,*")}
    assert came == {"two:2,FS", "three:2,S"}
    assert past.mail() == before, "what was there stays"
    assert list(past.box.scratch.iterdir()) == []


def test_later_there_is_more(past: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(past, capsys, "--at", "2026-11-23 09:00Z")[1]["messages"] == 4


@pytest.mark.parametrize(("folder", "count"), [("Work/2026", 1), ("INBOX", 2)])
def test_a_folder(past: World, folder: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = restore(past, capsys, "--folder", folder, "--into", "Old")
    assert (code, report["messages"], report["into"]) == (0, count, "Old")


def test_no_such_folder_or_user(past: World, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = restore(past, capsys, "--folder", "Wrok")
    assert (code, report["kind"]) == (1, "not_in_backup")
    assert past.run("restore-user", "--user", "nobody@hearth.example", "--at", AT) == 1
    assert "does not know nobody" in capsys.readouterr().err


def test_a_folder_that_is_there_is_not_touched(past: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(past, capsys)[0] == 0
    imports = len(list((past.path / "imports").rglob("*")))
    code, report = restore(past, capsys)
    assert (code, report["kind"]) == (3, "folder_exists")
    assert len(list((past.path / "imports").rglob("*"))) == imports
    assert restore(past, capsys, "--into", "Again")[0] == 0


def test_too_early(past: World, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = restore(past, capsys, "--at", "2020-01-01")
    assert (code, report["kind"]) == (1, "none_before")
    assert "oldest" in report["error"]


def test_names_that_are_no_folder(past: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(past, capsys, "--into", "a.b")[0] == 2


def test_dovecot_that_refuses(past: World, capsys: pytest.CaptureFixture[str]) -> None:
    past.doveadm_fails(**{HANAKO: [0, 75]})
    code, report = restore(past, capsys)
    assert (code, report["kind"]) == (1, "import")
    assert list(past.box.scratch.iterdir()) == []


def test_who_waited_for_the_same_command_is_told_what_it_brought(
    past: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = state.locked

    def meanwhile(path: Path, wait: float = 0) -> AbstractContextManager[int]:
        """Let the first typing, which holds the lock, end while the second one waits."""
        monkeypatch.setattr(state, "locked", locked)
        assert restore(past, capsys)[0] == 0
        return locked(path, wait)

    monkeypatch.setattr(state, "locked", meanwhile)
    code, report = restore(past, capsys, "--wait", "60")
    assert (code, report["messages"], report["already_done"]) == (0, 3, True)
