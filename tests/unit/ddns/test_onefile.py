"""The folders of older builds go, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hearthmail.onefile import AGE, forget_old_builds, let_all_read


def test_old_builds_go(tmp_path: Path) -> None:
    for name in ("hearth-ddns_new", "hearth-ddns_old", "hearth-ddns_recent", "other_old"):
        (tmp_path / name / "site-packages" / "hearthmail").mkdir(parents=True)
    for name in ("hearth-ddns_new", "hearth-ddns_old", "other_old"):
        os.utime(tmp_path / name, (1, 1))
    forget_old_builds(str(tmp_path / "hearth-ddns_new" / "site-packages" / "hearthmail" / "onefile.py"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hearth-ddns_new", "hearth-ddns_recent", "other_old"]
    assert AGE > 0


def test_outside_of_the_one_file_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "lib_old").mkdir()
    os.utime(tmp_path / "lib_old", (1, 1))
    forget_old_builds(str(tmp_path / "lib" / "python3" / "site-packages" / "hearthmail" / "onefile.py"))
    forget_old_builds(str(tmp_path / "src" / "hearthmail" / "onefile.py"))
    assert (tmp_path / "lib_old").is_dir()


def test_all_may_read_what_root_has_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    file = tmp_path / "cache" / "hearth-ddns_build" / "site-packages" / "hearthmail" / "cli.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    inside = list((tmp_path / "cache").rglob("*"))
    for path in (*inside, tmp_path / "cache"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    let_all_read(str(file))
    for path in (*inside, tmp_path / "cache"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
    # Not run from the one file.
    file.chmod(0o600)
    let_all_read(str(tmp_path / "src" / "cli.py"))
    assert file.stat().st_mode & 0o777 == 0o600
