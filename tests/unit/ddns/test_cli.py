"""The command line: exit codes and texts, without a network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hearthmail.ddns import cli, daemon, state
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.changes import Addresses
from hearthmail.ddns.report import ERROR, OK, Report

from .conftest import CONFIG, World


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


# The service ----------------------------------------------------------------------------------------------------

OLD, NEW = Addresses("198.51.100.10"), Addresses("198.51.100.11")


@dataclass
class Service:
    """The command `serve` over a world in memory: how it looks, and what those of ddns.d are told."""

    world: World
    agent: Agent
    monkeypatch: pytest.MonkeyPatch
    announced: list[tuple[Addresses, Addresses]] = field(default_factory=list)

    def look(self) -> Report:
        """Start it, let it look once because something has happened, and end it."""
        reports = []

        def serve(check: Callable[..., Report], say: Callable[[Report], None], *_rest: Any) -> None:
            reports.append(check("quick", True))
            say(reports[-1])

        self.monkeypatch.setattr(daemon, "serve", serve)
        assert self.run("serve") == OK
        return reports[0]

    def run(self, command: str) -> int:
        """Type a command on that box."""
        return cli.main(["--state", str(self.world.path / "ddns.json"), command])


@pytest.fixture
def service(world: World, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose records stand as they should."""
    assert world.agent().apply().exit_code == OK
    made = Service(world, world.agent(), monkeypatch)
    monkeypatch.setattr(cli, "_agent", lambda _arguments: made.agent)
    monkeypatch.setattr(daemon, "world", contextlib.nullcontext)
    told = made.announced.append
    monkeypatch.setattr(cli.changes, "announce", lambda old, new: told((old, new)) if old != new else None)
    return made


def test_a_change_is_announced(service: Service) -> None:
    service.world.ipv4 = NEW.ipv4
    assert service.look().exit_code == OK
    assert service.look().exit_code == OK
    assert service.announced == [(OLD, NEW)]


def test_a_change_is_announced_although_the_disk_is_full(service: Service) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    service.world.ipv4 = NEW.ipv4
    service.monkeypatch.setattr("hearthmail.ddns.state.replace_file", full)
    assert "Make room on the disk" in str(service.look().errors[0])
    assert service.look().changed is False
    assert service.announced == [(OLD, NEW)]


def test_a_change_that_a_person_wrote_meanwhile_is_announced_by_that_command_alone(service: Service) -> None:
    """The service waits for the lock; by the time it has it, the address is the new one already."""
    real = state.lock

    @contextlib.contextmanager
    def lock(path: Path) -> Iterator[None]:
        service.monkeypatch.setattr(state, "lock", real)
        service.world.agent().apply()
        with real(path):
            yield

    service.world.ipv4 = NEW.ipv4
    service.monkeypatch.setattr(state, "lock", lock)
    assert service.look().exit_code == OK
    assert service.world.values("mail", "A") == {NEW.ipv4}
    assert service.announced == []


def test_a_typed_command_announces_its_change(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.world.ipv4 = NEW.ipv4
    assert service.run("apply") == OK
    assert service.run("apply") == OK
    assert service.announced == [(OLD, NEW)]


def test_a_look_that_breaks_off_by_a_mistake_does_not_end_the_service(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_rest: Any) -> Report:
        raise RuntimeError("a mistake of ours")

    service.monkeypatch.setattr(service.agent, "check", broken)
    assert service.look().exit_code == ERROR
    said = capsys.readouterr()
    assert "RuntimeError: a mistake of ours" in said.out
    assert "Traceback" in said.err
    service.monkeypatch.undo()
    # A person is told in the state's own words, by the same exit code as with any other error.
    assert service.run("status") == ERROR
    assert "RuntimeError: a mistake of ours" in capsys.readouterr().out
