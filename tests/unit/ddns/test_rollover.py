"""Whole rollovers in simulated time: whatever a cache holds, the key in use is in it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthmail.ddns import authoritative, publish, ready, rollover, state
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.authoritative import View
from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.records import Key, RRset
from tests.support.sites import spki

from .conftest import MX_AND_SPF, ZONE, World

TLSA = Key(ZONE, "_25._tcp.mail", "TLSA")
OLD, NEW = f"3 1 1 {spki('old')}", f"3 1 1 {spki('new')}"
SELECTORS = Key(ZONE, "old._domainkey", "TXT"), Key(ZONE, "new._domainkey", "TXT")
DKIM = "v=DKIM1; k=rsa; p=AAAA", "v=DKIM1; k=rsa; p=BBBB"
# Seconds for which a message may wait in a queue, for the simulation.
QUEUE = 200


def entry(key: Key, ttl: int, *values: str) -> dict[str, Any]:
    return {"zone": key.zone, "name": key.name, "type": key.type, "ttl": ttl, "values": list(values)}


@dataclasses.dataclass
class Simulation:
    """A zone on servers that follow the provider with a delay of their own, second by second."""

    world: World
    keys: tuple[Key, ...]
    lags: tuple[int, ...]
    history: list[dict[Key, RRset]] = dataclasses.field(default_factory=list)
    # The zone as it was read last, and what it was read from: reading it every second takes long.
    read: tuple[str, dict[Key, RRset]] = dataclasses.field(default=("", {}))

    @property
    def now(self) -> int:
        return len(self.history)

    def live(self) -> dict[Key, RRset]:
        held = str(self.world.zone)
        if held != self.read[0]:
            self.read = held, publish.snapshot(publish.read_zone(self.world.provider, ZONE))
        return self.read[1]

    def seen(self, server: str, at: int) -> dict[Key, RRset]:
        """What a server answers in a second."""
        at -= self.lags[int(server)]
        return self.live() if at >= self.now else self.history[max(at, 0)] if self.history else {}

    def agent(self) -> Agent:
        self.world.clock = float(self.now)
        return dataclasses.replace(
            self.world.agent(),
            find_servers=lambda _zone, _configured: [str(n) for n in range(len(self.lags))],
            question=lambda server, key: self.seen(server, self.now).get(key, RRset(key, 0, frozenset())),
        )

    def publish(self, *entries: dict[str, Any]) -> None:
        """What a hook does: write the fragment, apply."""
        self.world.ahead = {"postfix": MX_AND_SPF, "keys": list(entries)}
        assert self.agent().apply().exit_code == 0

    def tick(self) -> None:
        self.history.append(self.live())

    def age(self, key: Key, value: str) -> list[int]:
        """For each second: for how long every server has been answering the value."""
        ages, age = [], 0
        for at in range(self.now):
            there = all(
                (found := self.seen(str(n), at).get(key)) and value in found.values for n in range(len(self.lags))
            )
            age = age + 1 if there else 0
            ages.append(age)
        return ages


@contextmanager
def simulated(keys: tuple[Key, ...], lags: tuple[int, ...]) -> Iterator[Simulation]:
    def here(jobs: Any, write: bool, stop: bool, make: Callable[..., Any], **_rest: Any) -> list[Any]:
        return list(publish.work(jobs, write, stop, make))

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "work_limited", here)
        # In simulated time nothing is waited for in real time.
        patch.setattr(authoritative, "wait_until_right", lambda *_args, **_rest: ([], 0.0))
        patch.setattr(rollover, "DKIM_QUEUE", QUEUE)
        yield Simulation(World(Path(folder)), keys, lags)


# TTL, the servers' delays, seconds between two runs of the agent and between two looks of the hook, and the second at
# which somebody deletes the new record, if so.
worlds = {
    "ttl": st.sampled_from([60, 90]),
    "lags": st.tuples(st.integers(0, 30), st.integers(0, 30)),
    "check": st.integers(5, 60),
    "look": st.integers(1, 20),
    "deleted": st.none() | st.integers(1, 60),
}


@settings(max_examples=15)
@given(**worlds)
def test_a_tlsa_rollover(ttl: int, lags: tuple[int, int], check: int, look: int, deleted: int | None) -> None:
    with simulated((TLSA,), lags) as sim:
        sim.publish(entry(TLSA, ttl, OLD))
        begin, in_use = 3 * ttl, [OLD]
        changed = 0
        while sim.now < 10 * ttl + 300:
            if sim.now == begin:
                sim.publish(entry(TLSA, ttl, OLD, NEW))
            if sim.now > begin and not changed and (sim.now - begin) % look == 0:
                found = ready.look(sim.agent(), TLSA, NEW)
                if found.ready:
                    changed = sim.now
                    in_use.append(NEW)
                    sim.publish(entry(TLSA, ttl, NEW))
            if deleted and sim.now == begin + deleted:
                held = sim.world.zone[TLSA.name, "TLSA"]
                assert "values" in held
                held["value"] = next(one for one in held.pop("values") if spki("old") in str(one))
            if sim.now % check == 0:
                sim.agent().check()
            sim.tick()
            in_use += [in_use[-1]] * (sim.now + 1 - len(in_use))
        assert changed, "the rollover never came to its end"
        ages = {value: sim.age(TLSA, value) for value in (OLD, NEW)}
        for at in range(begin, sim.now):
            key = NEW if at >= changed else OLD
            # A cache of any age up to the TTL has it, from whichever server.
            assert ages[key][at] > ttl, f"at {at} s, with the change at {changed} s"
        assert changed - begin >= 2 * ttl
        gone = next(at for at in range(changed, sim.now) if ages[OLD][at] == 0)
        assert gone - changed >= 2 * ttl
        assert sim.live()[TLSA].values == {NEW}


@settings(max_examples=15)
@given(**worlds)
def test_a_dkim_rollover(ttl: int, lags: tuple[int, int], check: int, look: int, deleted: int | None) -> None:
    old, new = SELECTORS
    with simulated(SELECTORS, lags) as sim:
        sim.publish(entry(old, ttl, DKIM[0]))
        begin, changed = 3 * ttl, 0
        while sim.now < 10 * ttl + 300 + QUEUE:
            if sim.now == begin:
                sim.publish(entry(old, ttl, DKIM[0]), entry(new, ttl, DKIM[1]))
            if (
                sim.now > begin
                and not changed
                and (sim.now - begin) % look == 0
                and ready.look(sim.agent(), new, DKIM[1]).ready
            ):
                changed = sim.now
                sim.publish(entry(new, ttl, DKIM[1]))
            if deleted and sim.now == begin + deleted:
                del sim.world.zone[new.name, "TXT"]
            if sim.now % check == 0:
                sim.agent().check()
            sim.tick()
        assert changed, "the rollover never came to its end"
        ages = [sim.age(key, value) for key, value in zip(SELECTORS, DKIM, strict=True)]
        for at in range(begin, sim.now):
            # Signed now, checked now or after some time in a queue.
            key = 1 if at >= changed else 0
            for later in {at, min(at + QUEUE // 2, sim.now - 1), min(at + QUEUE - max(lags) - 1, sim.now - 1)}:
                assert ages[key][later] > ttl, f"signed at {at} s, checked at {later} s, change at {changed} s"
        assert old not in sim.live()
        assert sim.live()[new].values == {DKIM[1]}


def test_a_lost_fragment_removes_no_key(world: World) -> None:
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(SELECTORS[0], 3600, DKIM[0])]}
    world.agent().apply()
    world.ahead = {"postfix": MX_AND_SPF}
    for _ in range(3):
        world.agent().check()
        world.clock += 30 * 86400
    assert world.values("old._domainkey", "TXT") == {DKIM[0]}


def test_a_key_that_was_given_up_goes_after_five_days_without_a_playbook(world: World) -> None:
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(SELECTORS[0], 3600, DKIM[0]), entry(TLSA, 3600, OLD)]}
    world.agent().apply()
    world.ahead = {"postfix": MX_AND_SPF}
    assert world.agent().plan().exit_code == 0
    world.agent().apply()
    writes = world.writes
    world.clock += 7199
    world.agent().check()
    assert world.writes == writes
    world.clock += 2
    world.agent().check()
    assert world.values("_25._tcp.mail", "TLSA") == set()
    assert world.values("old._domainkey", "TXT") == {DKIM[0]}
    world.clock += 5 * 86400
    world.agent().check()
    assert world.values("old._domainkey", "TXT") == set()
    assert world.state is not None
    world.agent().check()
    assert (world.state.retiring, world.state.seen_since, world.state.shown_ttls) == ({}, {}, {})


def test_a_value_that_is_wanted_again_stays(world: World) -> None:
    both = {"postfix": MX_AND_SPF, "keys": [entry(TLSA, 3600, OLD, NEW)]}
    world.ahead = both
    world.agent().apply()
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(TLSA, 3600, NEW)]}
    world.agent().apply()
    assert world.values("_25._tcp.mail", "TLSA") == {OLD, NEW}
    world.ahead = both
    world.agent().apply()
    world.clock += 86400
    world.agent().check()
    assert world.values("_25._tcp.mail", "TLSA") == {OLD, NEW}


def test_a_key_that_was_stolen_goes_at_once(world: World) -> None:
    """Another value under the same selector: a name may hold one DKIM key only."""
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(SELECTORS[0], 3600, DKIM[0])]}
    world.agent().apply()
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(SELECTORS[0], 3600, "v=DKIM1; k=rsa; p=")]}
    world.agent().apply()
    assert world.values("old._domainkey", "TXT") == {"v=DKIM1; k=rsa; p="}


def test_other_records_go_at_once(world: World) -> None:
    world.ahead = {"postfix": MX_AND_SPF, "web": [entry(Key(ZONE, "_smtp._tls", "TXT"), 3600, "v=TLSRPTv1; rua=x")]}
    world.agent().apply()
    world.ahead = {"postfix": MX_AND_SPF}
    world.agent().apply()
    assert world.values("_smtp._tls", "TXT") == set()


def test_readiness_counts_the_largest_ttl_that_was_shown() -> None:
    shown = rollover.shown_ttls({"z||TLSA": 86400}, [RRset(Key("z", "", "TLSA"), 60, frozenset("x"))], [], {})
    assert shown == {"z||TLSA": 86400}
    assert rollover.shown_ttls(shown, [], [], {}) == {}
    assert rollover.shown_ttls(shown, [], [Key("z", "", "TLSA")], {}) == shown


def test_every_server_has_to_answer() -> None:
    want = [RRset(TLSA, 0, frozenset({OLD}))]
    with_it, without = RRset(TLSA, 60, frozenset({OLD})), RRset(TLSA, 60, frozenset())
    mark = rollover.mark(TLSA, OLD)

    def see(before: dict[str, float], **answers: RRset | None) -> dict[str, float]:
        view = View({server: {TLSA: answer} for server, answer in answers.items()})
        return rollover.see(before, view, ["a", "b"], want, 9.0)

    assert see({}, a=with_it, b=with_it) == {mark: 9.0}
    assert see({}, a=with_it, b=without) == {}
    assert see({}, a=with_it) == {}, "a silent server may answer something else"
    assert see({}, a=with_it, b=None) == {}
    assert see({mark: 1.0}, a=with_it, b=with_it) == {mark: 1.0}
    assert see({mark: 1.0}, a=with_it) == {mark: 1.0}
    assert see({mark: 1.0}, a=with_it, b=without) == {}
    assert rollover.forget({mark: 1.0}, [(None, with_it)]) == {}
    assert rollover.forget({mark: 1.0}, [(with_it, with_it)]) == {mark: 1.0}


def test_a_clock_that_was_wrong_for_a_while_prolongs_nothing(world: World) -> None:
    """All of it is seen, and given up, in 2096; then the clock is set right."""
    right, world.clock = world.clock, 3_980_000_000.0
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(TLSA, 300, OLD, NEW)]}
    world.agent().apply()
    world.agent().check()
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(TLSA, 300, NEW)]}
    world.agent().apply()
    world.clock = right
    found = ready.look(world.agent(), TLSA, NEW)
    assert (found.ready, found.at) == (False, right + 600), "it counts from now on"
    world.agent().check()
    assert world.values("_25._tcp.mail", "TLSA") == {OLD, NEW}
    world.clock += 599
    world.agent().check()
    assert world.values("_25._tcp.mail", "TLSA") == {OLD, NEW}
    world.clock += 2
    world.agent().check()
    assert world.values("_25._tcp.mail", "TLSA") == {NEW}
    assert ready.look(world.agent(), TLSA, NEW).ready


def test_ready_says_from_when(world: World) -> None:
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(TLSA, 300, OLD)]}
    agent = world.agent()
    assert ready.place_of(agent, "_25._tcp.Mail.Hearth.Example.", "tlsa") == TLSA
    assert "answers nothing" in ready.look(agent, TLSA, None).text()
    agent.apply()
    world.clock += 10
    found = ready.look(agent, TLSA, OLD.upper())
    assert (found.ready, found.at) == (False, 1600.0)
    assert "in 590 s" in found.text()
    assert not ready.look(agent, TLSA, NEW).ready
    world.clock = 1600
    assert ready.look(agent, TLSA, None).ready
    with pytest.raises(ConfigError, match="other"):
        ready.place_of(agent, "mail.other.example", "TLSA")
    with pytest.raises(ConfigError, match="No fragment"):
        ready.look(agent, Key(ZONE, "nothing", "TXT"), None)


def test_ready_waits(world: World) -> None:
    world.ahead = {"postfix": MX_AND_SPF, "keys": [entry(TLSA, 300, OLD)]}
    agent = world.agent()
    agent.apply()

    def sleep(seconds: float) -> None:
        world.clock += seconds

    assert not ready.wait(agent, TLSA, None, 100, sleep).ready
    assert world.clock == 1100
    assert ready.wait(agent, TLSA, None, 1000, sleep).ready
    assert world.clock == 1600


def test_times_survive_in_the_state(tmp_path: Path) -> None:
    one = state.State(seen_since={rollover.mark(TLSA, OLD): 5.0}, retiring={"z||TXT|a|b": 7}, shown_ttls={"z||TXT": 60})
    state.save(one, tmp_path / "s.json")
    assert state.load(tmp_path / "s.json") == one
    for broken in ('"seen_since": {"z": 5}', '"retiring": {"z||TXT|a": "x"}', '"challenges": {"z": {"t": "x"}}'):
        with pytest.raises(ValueError, match="malformed"):
            state.parse(f'{{"version": 1, {broken}}}')
