"""The command line: exit codes and texts, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hearthmail.ddns import cli, state

from .conftest import CONFIG


def run(tmp_path: Path, *arguments: str) -> int:
    files = (
        "--config",
        str(tmp_path / "c.json"),
        "--records",
        str(tmp_path),
        "--state",
        str(tmp_path / "s" / "s.json"),
    )
    return cli.main([*files, *arguments])


def test_status_without_a_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "status") == 1
    assert "hearth-ddns apply" in capsys.readouterr().out


def test_status_tells_why_there_is_no_aaaa(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = state.State(published="x", ipv4="198.51.100.10", ipv4_source="router", ipv6_problem="nobody has shown it")
    one.owned = {"hearth.example|mail|A": ["198.51.100.10"]}
    state.save(one, tmp_path / "s" / "s.json")
    assert run(tmp_path, "status") == 0
    said = capsys.readouterr().out
    assert "mail.hearth.example A 198.51.100.10" in said
    assert "because nobody has shown it" in said
    assert run(tmp_path, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ipv4"] == "198.51.100.10"


def test_a_missing_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "plan") == 1
    assert "c.json cannot be read" in capsys.readouterr().out
    assert run(tmp_path, "apply", "--json") == 1
    assert "c.json" in json.loads(capsys.readouterr().out)["errors"][0]


def test_adopting_an_unknown_domain_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    assert run(tmp_path, "adopt", "--domain", "other.example") == 1
    assert "other.example" in capsys.readouterr().out
