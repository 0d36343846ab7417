"""Challenges: beside each other, beside others' values, gone again, and gone by themselves after a crash."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hearthmail.ddns import challenge, cli, publish, state, text
from hearthmail.ddns.config import parse
from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.merge import Change, Merge, withhold
from hearthmail.ddns.records import Key, RRset
from hearthmail.ddns.report import ERROR, OK, Report

from .conftest import CONFIG, ZONE, World

MAIL = Key(ZONE, "_acme-challenge.mail", "TXT")
APEX = Key(ZONE, "_acme-challenge", "TXT")


def add(world: World, *pairs: str, wait: float = 120) -> Report:
    agent = world.agent()

    def sleep(seconds: float) -> None:
        world.clock += seconds

    return challenge.add(agent, challenge.parse(pairs, agent.config), wait, sleep)


def remove(world: World, *pairs: str) -> Report:
    agent = world.agent()
    return challenge.remove(agent, challenge.parse(pairs, agent.config))


def test_many_at_once_are_one_write(world: World) -> None:
    pairs = [word for n in range(10) for word in (f"n{n}.hearth.example", f"token{n}")]
    assert add(world, *pairs).exit_code == OK
    assert world.writes == 1
    assert world.values("_acme-challenge.n3", "TXT") == {"token3"}
    assert world.zone["_acme-challenge.n3", "TXT"]["ttl"] == 60
    assert remove(world, *pairs).exit_code == OK
    assert (world.writes, world.zone) == (2, {})


def test_a_name_and_its_wildcard_stand_together_and_beside_others(world: World) -> None:
    world.zone[APEX.name, "TXT"] = {"ttl": 300, "values": ["somebody-elses"]}
    assert add(world, ZONE, "plain").exit_code == OK
    assert add(world, f"*.{ZONE}", "wild").exit_code == OK
    assert world.values(APEX.name, "TXT") == {"somebody-elses", "plain", "wild"}
    remove(world, ZONE, "plain")
    assert world.values(APEX.name, "TXT") == {"somebody-elses", "wild"}
    # Asked for twice, by a hook that is run again.
    remove(world, ZONE, "plain")
    remove(world, ZONE, "wild", ZONE, "never-there")
    assert world.zone[APEX.name, "TXT"] == {"ttl": 300, "value": "somebody-elses"}
    remove(world, ZONE, "somebody-elses")
    assert world.values(APEX.name, "TXT") == {"somebody-elses"}
    assert world.state is not None
    assert (world.state.owned, world.state.challenges) == ({}, {})


def test_the_agents_runs_leave_it_alone_for_an_hour(world: World) -> None:
    world.agent().apply()
    add(world, "mail.hearth.example", "token")
    writes = world.writes
    for run in ("check", "apply", "plan", "check"):
        world.clock += 600
        assert getattr(world.agent(), run)().exit_code == OK
    assert world.writes == writes
    del world.zone[MAIL.name, "TXT"]
    world.agent().check()
    assert world.values(MAIL.name, "TXT") == {"token"}, "healed, like all that is ours"
    world.clock += 1200
    world.agent().check()
    assert (MAIL.name, "TXT") not in world.zone
    assert world.values("mail", "A") == {"198.51.100.10"}


def test_it_works_before_anything_was_published(world: World) -> None:
    add(world, "mail.hearth.example", "token")
    assert set(world.zone) == {(MAIL.name, "TXT")}
    world.clock += 4000
    world.agent().check()
    assert world.zone == {}


class PowerCutError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("reached", [False, True], ids=["before the write", "after the write"])
def test_a_crash_leaves_nothing_for_ever(world: World, monkeypatch: pytest.MonkeyPatch, reached: bool) -> None:
    world.agent().apply()
    before = dict(world.zone)

    def cut(jobs: Any, write: bool, stop: bool, **rest: Any) -> None:
        if reached:
            list(publish.work(jobs, write, stop, rest["make"]))
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(publish, "work_limited", cut)
        with pytest.raises(PowerCutError):
            add(world, "mail.hearth.example", "token")
    assert ((MAIL.name, "TXT") in world.zone) == reached
    world.clock += 3601
    world.agent().check()
    assert world.zone == before
    assert world.state is not None
    assert world.state.challenges == {}


def test_a_provider_that_is_down_is_told_and_nothing_stays(world: World) -> None:
    world.agent().apply()
    world.down = True
    report = add(world, "mail.hearth.example", "token")
    assert report.exit_code == ERROR
    assert "connection refused" in str(report.zones[0].error)
    world.down = False
    assert remove(world, "mail.hearth.example", "token").exit_code == OK
    assert (MAIL.name, "TXT") not in world.zone
    assert world.state is not None
    assert not world.state.owns(MAIL)


def test_a_delegated_challenge_is_named_and_not_overwritten(world: World) -> None:
    world.zone[MAIL.name, "CNAME"] = {"ttl": 300, "value": "mail.acme.other.example."}
    before = dict(world.zone)
    report = add(world, ZONE, "one", "mail.hearth.example", "two")
    assert report.exit_code == ERROR
    assert "_acme-challenge.mail.hearth.example is a CNAME to mail.acme.other.example." in str(report.errors[0])
    assert "adopt" not in "\n".join(text.lines(report))
    assert world.zone == before
    assert world.state is not None
    assert (world.state.owned, world.state.challenges) == ({}, {})
    # The agent's own runs are not stopped by it either.
    assert world.agent().apply().exit_code == OK


def test_it_waits_until_all_servers_answer(world: World) -> None:
    agent = world.agent()
    servers = {"fast": 0.0, "slow": 1007.0}

    def question(server: str, key: Key) -> RRset | None:
        if server == "silent" and world.clock < 1012:
            raise OSError
        return world.question(server, key) if world.clock >= servers.get(server, 0) else RRset(key, 0, frozenset())

    def sleep(seconds: float) -> None:
        world.clock += seconds

    asked = challenge.parse(["mail.hearth.example", "token"], agent.config)
    for name, until in (("slow", 1007), ("silent", 1012)):
        world.clock = 1000.0
        slow = dataclasses.replace(agent, find_servers=lambda *_: ["fast", name], question=question)  # noqa: B023
        report = challenge.add(slow, asked, 120, sleep)
        assert (report.exit_code, world.clock) == (OK, until)
        world.clock = 1000.0
        report = challenge.add(slow, asked, 3, sleep)
        assert report.exit_code == ERROR
        assert "not every name server of hearth.example" in str(report.errors[0])
        assert name in report.zones[0].still_wrong[0]


def test_only_what_was_asked_for_is_written(world: World) -> None:
    """Not even the address: that has its own limits."""
    world.agent().apply()
    world.ipv4 = "198.51.100.99"
    report = add(world, "mail.hearth.example", "token")
    assert report.zones[0].changes == [Change(MAIL, None, RRset(MAIL, 60, frozenset({"token"})))]
    assert world.values("mail", "A") == {"198.51.100.10"}


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        (["mail.hearth.example"], "no token"),
        (["mail.other.example", "x"], "mail.other.example"),
        (["mail.hearth.example", 'a"b'], "base64url"),
    ],
)
def test_what_is_not_a_challenge_is_named(pairs: list[str], named: str) -> None:
    with pytest.raises(AgentError, match=named):
        challenge.parse(pairs, parse(CONFIG))


DYNAMIC = {
    "type": "dyndns2",
    "url": "https://u.example/",
    "username": "u",
    "password": "p",
    "hostnames": [f"mail.{ZONE}"],
}


@pytest.mark.parametrize("provider", [{"type": "none"}, DYNAMIC], ids=["none", "dyndns2"])
def test_a_zone_whose_provider_takes_none_keeps_none_either(world: World, provider: dict[str, Any]) -> None:
    world.config = {**world.config, "providers": {"lab": provider}}
    with pytest.raises(AgentError, match="takes no TXT record"):
        add(world, ZONE, "x")
    assert world.state is None


def test_the_command(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr(cli, "Agent", lambda *_args: world.agent())
    files = ["--config", str(tmp_path / "c.json"), "--state", str(tmp_path / "ddns.json")]
    assert cli.main([*files, "challenge", "add", ZONE, "one", f"*.{ZONE}", "two"]) == 0
    assert '_acme-challenge.hearth.example. 60 IN TXT "one"' in capsys.readouterr().out
    remembered = state.load(tmp_path / "ddns.json")
    assert remembered is not None
    assert set(remembered.challenges["_acme-challenge.hearth.example"]) == {"one", "two"}
    assert cli.main([*files, "challenge", "remove", ZONE, "one", ZONE, "two"]) == 0
    assert world.zone == {}
    assert cli.main([*files, "ready", "_25._tcp.mail.hearth.example", "TLSA", "3 1 1 " + "ab" * 32]) == 4
    assert "Not ready" in capsys.readouterr().out


def test_it_waits_for_another_run(world: World) -> None:
    """The service, a person, a second certbot: one after the other, and nothing of either is lost."""
    path = world.path / "ddns.json"
    with ThreadPoolExecutor() as pool:
        with state.lock(path):
            remembered = state.State(published="by the other run")
            running = pool.submit(add, world, "mail.hearth.example", "token")
            with pytest.raises(TimeoutError):
                running.result(timeout=0.3)
            assert world.writes == 0
            state.save(remembered, path)
        assert running.result(timeout=20).exit_code == OK
    assert world.state is not None
    assert world.state.published == "by the other run"
    assert world.state.owns(MAIL)


def test_one_that_was_added_under_a_wrong_clock_goes_an_hour_after_it_was_set_right() -> None:
    kept = challenge.swept({"_acme-challenge.hearth.example": {"token": 3_980_000_000.0}}, 1000.0)
    assert challenge.swept(kept, 1000.0 + challenge.STALE - 1) == {"_acme-challenge.hearth.example": {"token": 1000.0}}
    assert challenge.swept(kept, 1000.0 + challenge.STALE) == {}


def test_a_place_that_the_provider_cannot_write_is_an_error_and_the_others_are_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(job: publish.Job, outcome: Merge) -> None:
        withhold(outcome, MAIL, AgentError("what stands there is odd.", "Look at it."), job.owned)

    monkeypatch.setattr(world.provider, "fit", fit, raising=False)
    report = add(world, f"mail.{ZONE}", "one", ZONE, "two")
    assert report.exit_code == ERROR
    said = "\n".join(text.lines(report))
    assert f"{MAIL}: what stands there is odd. Look at it." in said
    assert (world.values(MAIL.name, "TXT"), world.values(APEX.name, "TXT")) == (set(), {"two"})
    assert world.state
    assert (list(world.state.challenges), world.state.owns(MAIL)) == ([APEX.fqdn], False)
