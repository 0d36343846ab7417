"""The agent and its schedule in a simulated world: days pass in seconds, everything else is as on the box.

The loop is that of the resident service: whatever comes first, an event or the schedule's next look.
"""

from __future__ import annotations

import ipaddress
import itertools
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from hearthmail.ddns import address, publish, text
from hearthmail.ddns.address import Found
from hearthmail.ddns.address.echo import Echo
from hearthmail.ddns.address.router import RouterAnswer
from hearthmail.ddns.config import AddressConfig, ProviderConfig
from hearthmail.ddns.errors import AddressError
from hearthmail.ddns.providers.dyndns2 import Query
from hearthmail.ddns.records import Key, RRset
from hearthmail.ddns.report import ERROR, OK, Report
from hearthmail.ddns.schedule import Due, Schedule
from hearthmail.ddns.state import Ipv6Proof
from tests.support.zones import examples

from .conftest import ZONE, World, work_here

START = 1_800_000_000.0
DAY = 86400.0
# The longest time until a whole look, and until a provider that failed is asked again.
INTERVAL = 300.0


@dataclass
class Simulation:
    """A world whose clock moves only when the service sleeps, waits, or is kept waiting."""

    world: World
    events: list[tuple[float, Callable[[], None], bool]] = field(default_factory=list)
    looks: list[tuple[float, Due, Report]] = field(default_factory=list)
    history: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.clock = START
        self.world.sleep = self._pass  # type: ignore[method-assign]
        self._signs = 0
        self.restart()

    def restart(self) -> None:
        """The service starts anew: only the state is left."""
        self.agent = self.world.agent()
        self.schedule = Schedule(self.world.clock)

    def at(self, seconds: float, what: Callable[[], None], sign: bool = False) -> None:
        """Something will happen.

        :param sign: the service hears of it at once (the kernel's news, a hook's poke).
        """
        self.events.append((START + seconds, what, sign))
        self.events.sort(key=lambda event: event[0])

    def move(self, ipv4: str | None) -> Callable[[], None]:
        return lambda: setattr(self.world, "ipv4", ipv4)

    def _pass(self, seconds: float) -> None:
        end = self.world.clock + seconds
        while self.events and self.events[0][0] <= end:
            at, what, sign = self.events.pop(0)
            self.world.clock = max(self.world.clock, at)
            what()
            self._signs += sign
        self.world.clock = end

    def run(self, seconds: float) -> None:
        """Let the service run until so many seconds after the start."""
        end = START + seconds
        while True:
            now = self.world.clock
            if self._signs:
                self.schedule.poked(now)
                self._signs = 0
            due = self.schedule.due(now)
            if due:
                report = self.agent.check(full=due == "full")
                self.looks.append((now - START, due, report))
                self.schedule.done(report, self.world.clock)
                self._remember()
                continue
            if now >= end:
                return
            times = [self.schedule.next_at(), end, *(event[0] for event in self.events[:1])]
            self._pass(max(0.0, min(times) - now))

    def _remember(self) -> None:
        values = frozenset(self.world.values("mail", "A"))
        if not self.history or self.history[-1][1] != values:
            self.history.append((self.world.clock - START, values))

    def address_writes(self, begin: float = 0, end: float = 1e9) -> list[float]:
        """When the address was written, in seconds after the start."""
        return [
            at - START
            for at, plan in zip(self.world.provider.applied_at, self.world.provider.applied, strict=True)
            if begin <= at - START <= end
            and any(change.record.name == "mail" and change.record._type in ("A", "AAAA") for change in plan.changes)
        ]

    def right_at(self, ipv4: str) -> float:
        """Since when the zone holds this address, in seconds after the start."""
        at, values = self.history[-1]
        assert values == {ipv4}
        return at

    @property
    def told(self) -> list[str]:
        return [line for _, _, report in self.looks for line in text.lines(report)]


@pytest.fixture
def simulation(world: World) -> Simulation:
    """A box on which everything was put in place long ago."""
    world.clock = START - DAY
    assert world.agent().apply().exit_code == OK
    return Simulation(world)


def pool(size: int) -> list[str]:
    return [f"198.51.100.{number}" for number in range(11, 11 + size)]


@pytest.mark.parametrize("sign", [True, False], ids=["interface", "router"])
@pytest.mark.parametrize("size", [2, 100], ids=["to-and-fro", "always-new"])
@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_flaps_in_ten_minutes(simulation: Simulation, seed: int, size: int, sign: bool) -> None:
    chance = random.Random(seed)
    times = sorted(chance.uniform(1, 601) for _ in range(100))
    addresses = pool(size)
    for number, at in enumerate(times):
        simulation.at(at, simulation.move(addresses[number % size]), sign)
    simulation.run(1000)
    last = addresses[99 % size]
    writes = simulation.address_writes()
    late = max(0.0, simulation.right_at(last) - times[-1])
    print(
        f"100 flaps ({size} addresses, {'told' if sign else 'polled'}): {len(writes)} writes, right after {late:.1f} s"
    )
    assert len(writes) <= 13
    assert late <= 70
    assert simulation.world.values("mail", "A") == {last}
    # The first ones were followed at once: a line that moves now and then is not held up.
    assert writes[0] - times[0] <= (0.51 if sign else 10.01)


def test_restarts_do_not_give_more_writes(simulation: Simulation) -> None:
    for number, at in enumerate(range(1, 601, 6)):
        simulation.at(at, simulation.move(pool(100)[number]), sign=True)
        simulation.at(at + 3, simulation.restart)
    simulation.run(1000)
    assert len(simulation.address_writes()) <= 13
    assert simulation.world.values("mail", "A") == {pool(100)[99]}


def test_a_daily_cap_holds_over_any_day(simulation: Simulation) -> None:
    simulation.world.config["providers"] = {"lab": {**simulation.world.config["providers"]["lab"], "daily_writes": 20}}
    simulation.world.source = "echo"
    simulation.restart()
    for number in range(100):
        simulation.at(1200 * number + 1, simulation.move(pool(100)[number]))
    simulation.run(100 * 1200 + DAY + 600)
    writes = simulation.address_writes()
    for begin in writes:
        assert sum(begin <= at < begin + DAY for at in writes) <= 20
    assert simulation.world.values("mail", "A") == {pool(100)[99]}
    print(f"100 changes in 33 h, 20 writes a day allowed: {len(writes)} writes")


@pytest.mark.parametrize("takes", [0.0, publish.HARD_LIMIT], ids=["refuses", "hangs"])
def test_a_provider_that_is_down_for_an_hour(
    simulation: Simulation, takes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses each connection, or takes it and says nothing until the attempt is ended."""
    world = simulation.world
    world.chance = random.Random(1).random

    def work(*words: Any, **rest: Any) -> list[publish.Done]:
        down, finished = world.down, work_here(*words, **rest)
        if down:
            # For so long the agent waits for the process that does the work.
            world.sleep(takes)
        return finished

    monkeypatch.setattr(publish, "work_limited", work)
    simulation.at(100, lambda: setattr(world, "down", True))
    simulation.at(130, simulation.move("198.51.100.99"), sign=True)
    simulation.at(3730, lambda: setattr(world, "down", False))
    simulation.run(3729)
    tries = [at - START for at in world.tries if at - START >= 130]
    pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
    print("tries at", " ".join(f"{at:.0f}" for at in tries))
    print("pauses  ", " ".join(f"{pause:.0f}" for pause in pauses))
    # From the end of an attempt to the next one.
    for pause, full in zip(pauses, (5, 10, 20, 40, 80, 160), strict=False):
        assert 0.9 * full <= pause - takes <= full + 1
    assert all(270 <= pause - takes <= 301 for pause in pauses[6:])
    assert len(set(pauses[6:])) > 1, "by chance a little apart"
    # It was told once, and is said as long as it lasts.
    assert sum("connection refused" in line for line in simulation.told) == 1
    assert any("next attempt" in line for line in simulation.told)
    state = world.state
    assert state
    assert any("asked again at" in problem for problem in text.status(state)["problems"])
    assert simulation.looks[-1][2].exit_code == ERROR
    # An attempt that hangs as it comes back is the last one that fails.
    simulation.run(3730 + takes + INTERVAL + 1)
    assert world.values("mail", "A") == {"198.51.100.99"}
    print(f"right {simulation.right_at('198.51.100.99') - 3730:.0f} s after it is back")
    assert simulation.looks[-1][2].exit_code == OK
    assert world.state
    assert not world.state.outages
    assert any("works again" in line for line in simulation.told)


def test_back_off_survives_a_restart(simulation: Simulation) -> None:
    world = simulation.world
    simulation.at(100, lambda: setattr(world, "down", True))
    for at in range(400, 1000, 7):
        simulation.at(at, simulation.restart)
    simulation.run(1000)
    assert len([at for at in world.tries if at - START > 100]) <= 9


def test_a_day_without_a_change(simulation: Simulation) -> None:
    world = simulation.world
    reads, questions = world.reads, world.questions
    asked = [0]

    def count(*_args: Any) -> Found:
        asked[0] += 1
        return Found("198.51.100.10", "router", "", None, "", Ipv6Proof(), 0.0)

    world.look = count  # type: ignore[method-assign]
    with mock.patch.object(Simulation, "_remember"):
        simulation.restart()
        simulation.run(DAY)
    print(
        f"24 h without a change: {len(simulation.address_writes())} writes, {asked[0]} questions to the router, "
        f"{world.questions - questions} to each name server, {world.reads - reads} reads of the provider's API"
    )
    assert world.writes == 1, "the one that put everything in place"
    assert world.reads - reads == len([due for _, due, _ in simulation.looks if due == "full"]) <= DAY / INTERVAL + 1
    assert simulation.told == []


def test_a_day_with_a_server_that_lags(simulation: Simulation) -> None:
    """A secondary that keeps the old address: the provider holds the new one, so nothing is written again."""
    world, honest = simulation.world, simulation.world.question
    world.servers = ("192.0.2.53", "192.0.2.54")
    world.source = "echo"

    def question(server: str, key: Key) -> RRset | None:
        if server == "192.0.2.54" and key.type == "A" and world.clock < START + DAY / 2:
            return RRset(key, 60, frozenset({"198.51.100.10"}))
        return honest(server, key)

    world.question = question  # type: ignore[method-assign]
    simulation.restart()
    simulation.at(50, simulation.move("198.51.100.77"), sign=True)
    simulation.run(DAY)
    assert len(simulation.address_writes()) == 1
    assert sum("holds it right, but 192.0.2.54 answers" in line for line in simulation.told) == 1
    assert world.state
    assert world.state.last_look.text == []


def by_dyndns2(world: World) -> None:
    """The world's zone lies at a service that cannot be asked what it holds: only its name servers can."""
    entry = {"type": "dyndns2", "service": "noip", "username": "hanako", "password": "geheim"}
    world.config = {**world.config, "providers": {"lab": {**entry, "hostnames": [f"mail.{ZONE}"]}}}

    def ask(_zone: str, query: Query) -> tuple[int, None, str]:
        asked = dict(query.parameters)
        for rdtype, parameter in (("A", "myip"), ("AAAA", "myipv6")):
            world.zone.pop(("mail", rdtype), None)
            if parameter in asked:
                world.zone["mail", rdtype] = {"ttl": 60, "value": asked[parameter]}
        world.provider.applied.append(query)
        return 200, None, "good"

    def make(config: ProviderConfig) -> Any:
        provider = publish.make_provider(config)
        provider.find_servers = lambda _zone, _configured: list(world.servers)
        provider.question = lambda server, key: world.question(server, key)
        provider._ask = ask
        return provider

    world.make = make  # type: ignore[method-assign]


@pytest.mark.parametrize("at", ["powerdns", "dyndns2"])
def test_answers_that_are_forged_lead_to_no_write(world: World, at: str) -> None:
    """Who can forge the answers about our zone can make us tell it; what is written comes from the provider's API, or
    from memory where the provider has none.
    """
    if at == "dyndns2":
        by_dyndns2(world)
    world.clock = START - DAY
    assert world.agent().apply().exit_code == OK
    simulation = Simulation(world)
    honest = world.question

    def forged(_server: str, key: Key) -> RRset | None:
        return RRset(key, 60, frozenset({"203.0.113.66"} if key.type == "A" else ()))

    for step, servers in enumerate([("203.0.113.53",), ("192.0.2.53", "203.0.113.53")]):
        world.servers = servers
        world.question = lambda server, key: (  # type: ignore[method-assign]
            forged(server, key) if server.startswith("203.") else honest(server, key)
        )
        simulation.restart()
        simulation.run(1000 * (step + 1))
    assert world.writes == 1
    assert any("203.0.113.53 answers mail.hearth.example A 203.0.113.66" in line for line in simulation.told)
    assert honest("", Key(ZONE, "mail", "A")) == RRset(Key(ZONE, "mail", "A"), 60, frozenset({"198.51.100.10"}))
    # They do not keep the address from being followed either.
    simulation.at(2100, simulation.move("198.51.100.20"))
    simulation.run(2200)
    assert world.writes == 2
    assert honest("", Key(ZONE, "mail", "A")) == RRset(Key(ZONE, "mail", "A"), 60, frozenset({"198.51.100.20"}))


def test_what_was_changed_by_hand_is_healed_although_the_servers_lag(simulation: Simulation) -> None:
    """The servers still answer right: only the provider's API shows what somebody did there."""
    world = simulation.world
    right = {key: world.question("", Key(ZONE, *key)) for key in world.zone}
    world.question = lambda _server, key: right.get((key.name, key.type), RRset(key, 0, frozenset()))  # type: ignore[method-assign]
    simulation.restart()
    simulation.run(10)

    def by_hand() -> None:
        world.zone["mail", "A"] = {"ttl": 60, "value": "203.0.113.9"}
        world.zone["", "MX"] = {"ttl": 60, "values": [{"preference": 1, "exchange": "mx.other.example."}]}

    simulation.at(20, by_hand)
    simulation.run(20 + 2 * INTERVAL)
    assert world.zone["mail", "A"]["value"] == "198.51.100.10"
    assert "mx.other.example." not in str(world.zone["", "MX"])


def test_router_down_and_echo_services_that_disagree(simulation: Simulation) -> None:
    world = simulation.world
    config = AddressConfig(echo_urls=("https://a.example/", "https://b.example/"), allow_documentation=True)
    says = {"a.example": "198.51.100.10", "b.example": "198.51.100.10"}
    router: list[str | None] = ["198.51.100.10"]

    def ask_router(*_rest: Any) -> RouterAnswer:
        if router[0] is None:
            raise AddressError("No router answers to UPnP.", "")
        return RouterAnswer(ipaddress.IPv4Address(router[0]), "upnp")

    def ask_echo(echo: Echo, _source: str, _limit: float) -> ipaddress.IPv4Address:
        return ipaddress.IPv4Address(says[echo.url.split("/")[2]])

    def clock() -> float:
        return world.clock

    there = address.Sources(lambda: None, ask_router, ask_echo, lambda: "", clock=clock, monotonic=clock)

    def look(_config: Any, *rest: Any, **options: Any) -> Found:
        return address.look(config, *rest, **{**options, "sources": there})

    world.look = look  # type: ignore[method-assign]
    simulation.restart()
    simulation.at(100, lambda: router.__setitem__(0, None))
    # One of the services lies; then both do, but not the same; then the box is behind carrier-grade NAT.
    simulation.at(200, lambda: says.update({"a.example": "203.0.113.66"}))
    simulation.at(1000, lambda: says.update({"b.example": "203.0.113.67"}))
    simulation.at(2000, lambda: router.__setitem__(0, "100.64.3.4"))
    simulation.at(3000, lambda: router.__setitem__(0, "192.168.0.2"))
    simulation.run(4000)
    assert world.writes == 1
    assert world.values("mail", "A") == {"198.51.100.10"}
    simulation.at(4000, lambda: router.__setitem__(0, "198.51.100.20"))
    simulation.run(4061)
    assert world.values("mail", "A") == {"198.51.100.20"}


# Anything may happen ------------------------------------------------------------------------------------------

FOREIGN: dict[tuple[str, str], Any] = {
    ("www", "A"): {"ttl": 300, "values": ["203.0.113.80"]},
    ("", "TXT"): {"ttl": 900, "values": ["site-verification=abc"]},
    ("lists", "MX"): {"ttl": 300, "value": {"preference": 5, "exchange": "mx.other.example."}},
    ("", "NS"): {"ttl": 86400, "value": "ns1.provider.example."},
    ("", "CAA"): {"ttl": 300, "value": {"flags": 0, "tag": "issue", "value": "ca.example"}},
}

# What may happen: (name, argument). Each may come with a sign or without.
happenings = st.one_of(
    st.tuples(st.just("address"), st.sampled_from([*pool(4), None])),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("wait"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("state"), st.sampled_from(["lost", "cut", "garbage"])),
    st.tuples(st.just("hand"), st.sampled_from(["A", "MX", "SPF", "delete A"])),
    st.tuples(st.just("foreign"), st.sampled_from(["blog", "shop"])),
    st.tuples(st.just("power"), st.sampled_from(["before", "after"])),
    st.tuples(st.just("clock"), st.sampled_from([-3600.0, 3600.0])),
)


class PowerLossError(BaseException):
    """Not an error that the agent may handle: everything ends."""


@dataclass
class Chaos:
    """What the happenings do to a world."""

    simulation: Simulation
    # Places that somebody changed by hand while the agent knew them as its own: healing them is right.
    lost: bool = False

    def __post_init__(self) -> None:
        self.world = self.simulation.world
        self.path = self.world.path / "ddns.json"

    def do(self, name: str, argument: Any) -> None:
        getattr(self, name)(argument)

    def address(self, ipv4: str | None) -> None:
        self.world.ipv4 = ipv4

    def down(self, down: bool) -> None:
        self.world.down = down

    def wait(self, _none: None) -> None:
        """The provider wants nothing for a while, with the next question."""
        self.world.patience = 200

    def restart(self, _none: None) -> None:
        self.simulation.restart()

    def state(self, how: str) -> None:
        self.lost = True
        whole = self.path.read_text() if self.path.exists() else ""
        if how == "lost":
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(whole[: len(whole) // 2] if how == "cut" else "\0\xff{]")
        self.simulation.restart()

    def hand(self, what: str) -> None:
        if what == "A":
            self.world.zone["mail", "A"] = {"ttl": 60, "value": "203.0.113.9"}
        elif what == "delete A":
            self.world.zone.pop(("mail", "A"), None)
        elif what == "MX":
            self.world.zone["", "MX"] = {"ttl": 60, "value": {"preference": 1, "exchange": "mx.hand.example."}}
        else:
            self.world.zone["", "TXT"] = {"ttl": 900, "values": ["site-verification=abc"]}

    def foreign(self, name: str) -> None:
        self.world.zone[name, "A"] = {"ttl": 77, "value": "203.0.113.81"}

    def power(self, when: str) -> None:
        """The next write is cut by a loss of power, before or after the provider has it."""
        self.world.provider.power = when  # type: ignore[attr-defined]

    def clock(self, seconds: float) -> None:
        """Somebody sets the clock. The events to come move with it."""
        self.world.clock += seconds
        self.simulation.events = [(at + seconds, what, sign) for at, what, sign in self.simulation.events]


def strike(chaos: Chaos) -> Callable[[Any], None]:
    provider = chaos.world.provider
    whole = provider._apply
    provider.power = ""  # type: ignore[attr-defined]

    def apply(plan: Any) -> None:
        when, provider.power = provider.power, ""  # type: ignore[attr-defined]
        if when == "before":
            raise PowerLossError
        whole(plan)
        if when == "after":
            raise PowerLossError

    return apply


def run(chaos: Chaos, seconds: float) -> None:
    """As `Simulation.run`, through losses of power."""
    end = chaos.world.clock + seconds
    while chaos.world.clock < end:
        try:
            chaos.simulation.run(end - START)
        except PowerLossError:
            chaos.simulation.restart()


@settings(max_examples=examples(30), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(happened=st.lists(st.tuples(st.floats(1, 400), happenings, st.booleans()), max_size=12))
@example(
    happened=[
        (10, ("power", "after"), False),
        (1, ("address", pool(4)[0]), True),
        (3, ("address", "198.51.100.10"), True),
    ]
)
@example(happened=[(10, ("power", "before"), False), (1, ("address", pool(4)[0]), True), (1, ("hand", "A"), True)])
@example(happened=[(1, ("power", "before"), False), (1, ("hand", "SPF"), False), (300, ("restart", None), False)])
@example(
    happened=[
        (200, ("hand", "A"), True),
        (180, ("power", "before"), False),
        (1, ("clock", -3600.0), False),
        (250, ("hand", "A"), True),
    ]
)
@example(
    happened=[
        (335.6, ("restart", None), True),
        (248.4, ("hand", "A"), True),
        (335.6, ("restart", None), True),
        (183.0, ("power", "before"), False),
        (1.0, ("clock", -3600.0), False),
        (248.4, ("hand", "A"), True),
        (289.3, ("down", False), True),
        (181.1, ("foreign", "shop"), True),
        (300.0, ("hand", "A"), True),
    ]
)
@example(happened=[(5, ("down", True), False), (1, ("clock", 3600.0), False), (30, ("clock", -3600.0), False)])
@example(
    happened=[
        (1, ("clock", 3600.0), False),
        (1, ("wait", None), False),
        (1, ("address", pool(4)[1]), True),
        (30, ("clock", -3600.0), False),
    ]
)
def test_whatever_happens(happened: list[tuple[float, tuple[str, Any], bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(publish, "work_limited", work_here):
        world = World(Path(folder))
        world.zone.update({place: dict(data) for place, data in FOREIGN.items()})
        world.clock = START - DAY
        assert world.agent().apply().exit_code == OK
        chaos = Chaos(Simulation(world))
        world.provider._apply = strike(chaos)  # type: ignore[method-assign]
        for pause, (name, argument), sign in happened:
            run(chaos, pause)
            chaos.do(name, argument)
            if sign:
                chaos.simulation.schedule.poked(world.clock)
            for place, data in FOREIGN.items():
                if place != ("", "TXT"):
                    assert world.zone[place] == data
        # At rest: the line is up, the provider works, nothing more happens.
        world.ipv4 = world.ipv4 or pool(4)[0]
        world.down, world.patience = False, 0
        world.provider.power = ""  # type: ignore[attr-defined]
        run(chaos, 2 * INTERVAL + 70)
        writes = world.writes
        run(chaos, INTERVAL)
        assert world.writes == writes, "at rest nothing is written"
        for place, data in FOREIGN.items():
            if place != ("", "TXT"):
                assert world.zone[place] == data
        assert "site-verification=abc" in world.values("", "TXT")
        for name in ("blog", "shop"):
            assert world.values(name, "A") <= {"203.0.113.81"}
        assert len(world.values("mail", "A")) <= 1, "an old address is never left beside the new one"
        if not chaos.lost:
            assert world.values("mail", "A") == {world.ipv4}
            assert world.values("", "MX") == {"10 mail.hearth.example."}
            assert world.values("", "TXT") == {"site-verification=abc", "v=spf1 mx -all"}
