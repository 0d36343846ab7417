"""The configuration and the fragments: what is wrong is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hearthmail.backup import config, fragments
from hearthmail.backup.config import Box
from hearthmail.backup.errors import BackupError

GOOD = {"repository": "/mnt/disk/hearthmail", "password_file": "/p", "hostname": "mail.hearth.example"}


def test_defaults() -> None:
    found = config.parse("x", GOOD)
    assert (found.forget, found.check_sample, found.retention["hourly"], found.is_local) == (False, "2%", 48, True)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"repository": ""}, "repository"),
        ({"hostname": 3}, "hostname"),
        ({"forget": "yes"}, "forget"),
        ({"options": "a"}, "options"),
        ({"retention": {"yearly": 1}}, "yearly"),
        ({"retention": {"daily": -1}}, "daily"),
        ({"retention": {"daily": 0}}, "keeps nothing"),
    ],
)
def test_wrong_values_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(BackupError, match=named):
        config.parse("x", {**GOOD, **changed})


def test_missing_and_broken_files(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with pytest.raises(BackupError, match=r"backup\.json cannot be read"):
        config.load(box)
    box.config.parent.mkdir(parents=True)
    box.config.write_text("{")
    with pytest.raises(BackupError, match=r"backup\.json is not JSON"):
        config.load(box)


def test_no_password_is_shown() -> None:
    found = config.parse(
        "x",
        {
            **GOOD,
            "repository": "rest:https://box:hidden@backup.example/box",
            "environment": {"RESTIC_REST_PASSWORD": "very-hidden", "AWS_DEFAULT_REGION": "home"},
        },
    )
    assert found.shown_repository == "rest:https://backup.example/box"
    assert (
        found.mask("at https://box:hidden@backup.example: very-hidden, home") == "at https://backup.example: ***, home"
    )


def test_fragments_are_joined(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"paths": ["/var/b", "/etc/one/in"], "exclude": ["/var/b/x"]}')
    (tmp_path / "a.json").write_text(
        '{"paths": ["/etc/one", "/var/b/"], "before": [["x", "y"]], "after_restore": [["z"]]}'
    )
    (tmp_path / "readme.txt").write_text("not a fragment")
    found = fragments.read(tmp_path)
    assert [one.name for one in found] == ["a", "b"]
    assert fragments.paths(found) == ["/etc/one", "/var/b"]
    assert fragments.excludes(found) == ["/var/b/x"]
    assert found[0].before == (("x", "y"),)
    assert found[0].after_restore == (("z",),)
    assert fragments.read(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"path": []}', "has no `paths`, and `path` is not known"),
        ('{"paths": "/x"}', "`paths`"),
        ('{"paths": ["x"]}', "absolute"),
        ('{"paths": ["/"]}', "absolute"),
        ('{"paths": ["/etc/../x"]}', "absolute"),
        ('{"before": ["x y"]}', "`before`"),
        ('{"before": [[]]}', "empty command"),
        ('{"after_restore": [[1]]}', "`after_restore`"),
    ],
)
def test_a_broken_fragment_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "postfix.json").write_text(text)
    with pytest.raises(BackupError, match=named) as caught:
        fragments.read(tmp_path)
    assert "postfix.json" in str(caught.value)
