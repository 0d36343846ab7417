"""What a rebuild tells its owner."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter.backup import is_backup_time, rebuild_report

GOOD: dict[str, Any] = {
    "ok": True,
    "messages": 1234,
    "messages_of": {"hanako@hearth.example": 1230, "old@hearth.example": 4},
    "time": "2026-11-23T08:00:00+00:00",
    "files": 1300,
    "bytes": 52_000_000,
    "snapshot": "0123456789abcdef",
    "kept": [],
    "incomplete": False,
}
USERS = ["hanako@hearth.example", "taro@hearth.example"]


def test_what_came_back_from_when_and_what_is_missing() -> None:
    text = "\n".join(rebuild_report(GOOD, USERS))
    assert "1234 messages in 2 mailboxes, as they were at 2026-11-23T08:00:00+00:00" in text
    assert "after 2026-11-23T08:00:00+00:00 and before it died" in text
    assert "holds no mailbox: taro@hearth.example." in text
    assert "no user in mail_users has them: old@hearth.example." in text


def test_from_when_to_when_mail_may_be_missing() -> None:
    text = "\n".join(rebuild_report({**GOOD, "begun": "2026-11-23T10:12:00+00:00"}, USERS))
    assert (
        "after 2026-11-23T08:00:00+00:00 and before it died: at the latest at 2026-11-23T10:12:00+00:00, when this "
        "restore began. How many messages that is, only their senders' servers know."
    ) in text


def test_what_waited_in_the_queue_is_named() -> None:
    first = {"id": "4bGx1y2Pz3", "sender": "hanako@hearth.example", "recipients": ["a@peer.example", "b@peer.example"]}
    bounce = {"id": "4bGx1y2Pz4", "sender": "", "recipients": ["alice@peer.example"]}
    text = "\n".join(rebuild_report({**GOOD, "queue": [first, bounce]}, USERS))
    assert "In the old box's queue waited then 2 messages" in text
    assert "4bGx1y2Pz3 from hanako@hearth.example to a@peer.example, b@peer.example" in text
    assert "4bGx1y2Pz4 from the mail system to alice@peer.example" in text
    assert "queue" not in "\n".join(rebuild_report({**GOOD, "queue": []}, USERS))


@pytest.mark.parametrize(("text", "good"), [("2026-11-23 08:00", True), ("2026-11-23", True), ("8 o'clock", False)])
def test_a_point_in_time(text: str, good: bool) -> None:
    assert is_backup_time(text) == good


def test_whose_mailbox_is_older_is_told() -> None:
    older = {
        "incomplete": True,
        "copy_failed": {USERS[0]: "x", USERS[1]: "y"},
        "earlier": {USERS[1]: "2026-11-23T07:00"},
    }
    text = "\n".join(rebuild_report({**GOOD, **older}, USERS))
    assert "for their copy had failed then: hanako@hearth.example." in text
    assert "the newest held less of them: taro@hearth.example (2026-11-23T07:00)." in text


def test_what_came_back_another_time_is_not_told_as_new() -> None:
    first = rebuild_report({**GOOD, "begun": "2026-11-23T10:12:00+00:00", "already_done": True}, USERS)[0]
    assert "Nothing was restored now" in first
    assert "2026-11-23T10:12:00+00:00" in first


def test_many_names_are_cut_short() -> None:
    users = [f"u{number:02}@hearth.example" for number in range(15)]
    assert "u09@hearth.example and 5 more" in "\n".join(rebuild_report({**GOOD, "messages_of": {}}, users))


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({}, "backup_repository is not written"),
        (
            {"ok": False, "kind": "no_snapshot", "error": "The repository holds no backup of mail.hearth.example."},
            "holds no backup",
        ),
    ],
)
def test_without_a_backup_it_says_what_is_lost(report: dict[str, Any], said: str) -> None:
    text = "\n".join(rebuild_report(report, USERS))
    assert said in text
    assert "Lost: all mail" in text
