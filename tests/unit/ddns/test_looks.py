"""The service's looks: it goes on after one that broke off by a mistake of ours, and not too fast."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from hearthmail.ddns import changes, daemon, text
from hearthmail.ddns.changes import Addresses
from hearthmail.ddns.looks import Looks
from hearthmail.ddns.report import ERROR, OK, Report
from hearthmail.ddns.schedule import Due, Schedule

from .conftest import World


@dataclass
class Loop:
    """The service's loop on the world's clock. What breaks off is the test's to say."""

    world: World
    broken: Callable[[bool], str] = lambda _full: ""
    until: float = 0
    tries: list[tuple[float, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        agent = self.world.agent()
        check = agent.check

        def sometimes(full: bool, at_once: bool) -> Report:
            self.tries.append((self.world.clock, "full" if full else "quick"))
            if mistake := self.broken(full):
                raise RuntimeError(mistake)
            return check(full, at_once)

        agent.check = sometimes  # type: ignore[method-assign]
        self.looks = Looks(agent, self.journal.append)
        self.schedule = Schedule(self.world.clock)

    @property
    def ended(self) -> bool:
        return self.world.clock >= self.until

    def wait(self, seconds: float) -> bool:
        self.world.clock += max(seconds, 0.001)
        return False

    def run(self, seconds: float) -> None:
        self.until = self.world.clock + seconds
        now = lambda: self.world.clock  # noqa: E731
        daemon.serve(self.look, self.say, self.schedule, self, now=now, tell=lambda _state: None)

    def look(self, due: Due, happened: bool) -> Report:
        return self.looks.look(due, happened)

    def say(self, report: Report) -> None:
        self.told += text.lines(report)

    def pauses(self, kind: str) -> list[float]:
        """Between the looks of a kind, in whole seconds."""
        times = [at for at, tried in self.tries if tried == kind]
        return [round(later - sooner) for sooner, later in itertools.pairwise(times)]


@pytest.fixture
def loop(world: World) -> Loop:
    assert world.agent().apply().exit_code == OK
    world.chance = lambda: 0.0
    return Loop(world)


def test_the_loop_goes_on_after_a_mistake_and_not_too_fast(loop: Loop) -> None:
    loop.broken = lambda _full: "a mistake of ours"
    loop.run(3600)
    for kind in ("full", "quick"):
        pauses = loop.pauses(kind)
        # A whole look is due at the end of each pause, a quick one ten seconds after the last look of either kind.
        late = 20 if kind == "quick" else 1
        for pause, shortest in zip(pauses, (5, 10, 20, 40, 80, 160), strict=False):
            assert shortest <= pause <= shortest + late, (kind, pauses)
        assert all(300 <= pause <= 300 + late for pause in pauses[6:]), (kind, pauses)
    assert len(loop.tries) <= 40
    # Told once for each kind, with where it came from.
    assert sum("RuntimeError: a mistake of ours" in line for line in loop.told) == 2
    assert [one.count("Traceback") for one in loop.journal] == [1, 1]
    status = text.status(loop.world.state)
    assert (status["last_exit"], len(status["problems"])) == (ERROR, 1)
    assert "journalctl -u hearth-ddns" in status["problems"][0]
    # It was mended: all is as if nothing had been.
    loop.broken = lambda _full: ""
    loop.run(301)
    assert text.status(loop.world.state)["problems"] == []
    loop.broken = lambda _full: "a mistake of ours"
    loop.run(301)
    assert len(loop.journal) == 4


def test_what_breaks_a_whole_look_does_not_keep_the_address_from_being_followed(loop: Loop) -> None:
    loop.broken = lambda full: "a mistake of ours" if full else ""
    loop.run(600)
    loop.world.ipv4 = "198.51.100.11"
    loop.run(11)
    assert loop.world.values("mail", "A") == {"198.51.100.11"}
    # Ten seconds after the last look of either kind.
    assert set(loop.pauses("quick")) <= set(range(10, 21))


def test_a_sign_of_a_change_ends_the_pause(loop: Loop) -> None:
    loop.broken = lambda _full: "a mistake of ours"
    for _ in range(3):
        loop.look("quick", False)
    assert len(loop.tries) == 1
    loop.broken = lambda _full: ""
    loop.world.ipv4 = "198.51.100.11"
    assert loop.look("quick", True).exit_code in (OK, ERROR)
    assert loop.world.values("mail", "A") == {"198.51.100.11"}


def test_no_credential_is_in_what_is_told(loop: Loop) -> None:
    providers = {"lab": {**loop.world.config["providers"]["lab"], "api_key": "geheimes-wort"}}
    loop.world.config["providers"] = providers
    loop = Loop(loop.world, lambda _full: "http://x/?key=geheimes-wort")
    loop.run(1)
    said = str(loop.told) + str(loop.journal) + str(text.status(loop.world.state))
    assert "http://x/?key=***" in said
    assert "geheimes-wort" not in said


def test_a_change_that_cannot_be_told_is_told_with_the_next_look(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Addresses, Addresses]] = []

    def full(*_rest: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(changes, "announce", full)
    for number in (11, 12):
        loop.world.ipv4 = f"198.51.100.{number}"
        assert "df" in str(loop.look("quick", True).errors[-1])
    monkeypatch.setattr(changes, "announce", lambda old, new: told.append((old, new)))
    loop.look("quick", False)
    assert told == [(Addresses("198.51.100.10"), Addresses("198.51.100.12"))]
