"""Files that are written at one stroke."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hearthmail.files import replace_file


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    replace_file(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    replace_file(path, "two", 0o644)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o644)


def test_a_full_disk_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "file", "one")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "file", "two")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "one")]
