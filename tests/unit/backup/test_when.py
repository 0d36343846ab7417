"""Points in time, with and without a zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hearthmail.backup import when
from hearthmail.backup.errors import BackupError, UsageError
from hearthmail.backup.when import Snapshot


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(hour: int, minute: int = 0) -> Snapshot:
    return Snapshot(f"{hour:02}{minute:02}", datetime(2026, 11, 22, hour, minute, tzinfo=UTC))


SNAPSHOTS = [at(23), at(21), at(22)]


@pytest.mark.usefixtures("tokyo")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        # 08:00 in Tokyo is 23:00 UTC of the day before.
        ("2026-11-23 08:00", "2300"),
        ("2026-11-23 07:59", "2200"),
        ("2026-11-23T07:30:00", "2200"),
        ("2026-11-22 22:59Z", "2200"),
        ("2026-11-22 23:30+01:00", "2200"),
        ("2027-01-01", "2300"),
    ],
)
def test_the_newest_not_newer(text: str, name: str) -> None:
    assert when.choose(SNAPSHOTS, when.parse(text), "box").id == name


def test_the_newest_of_all() -> None:
    assert when.choose(SNAPSHOTS, None, "box").id == "2300"


@pytest.mark.usefixtures("tokyo")
def test_too_early_names_what_there_is() -> None:
    with pytest.raises(BackupError, match="oldest is of 2026-11-23 06:00, the newest of 2026-11-23 08:00") as caught:
        when.choose(SNAPSHOTS, when.parse("2026-11-23 05:59"), "box")
    assert "before 2026-11-23 05:59" in str(caught.value)


def test_none_at_all() -> None:
    with pytest.raises(BackupError, match=r"no backup of mail\.hearth\.example"):
        when.choose([], None, "mail.hearth.example")


def test_not_a_time() -> None:
    with pytest.raises(UsageError, match="yesterday"):
        when.parse("yesterday")
