"""Which addresses may be published, and whom to believe."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns import address
from hearthmail.ddns.address.echo import Echo
from hearthmail.ddns.address.interface import gateway_in
from hearthmail.ddns.address.ipv6 import prove_ipv6, stable_addresses
from hearthmail.ddns.address.memory import RouterMemory
from hearthmail.ddns.address.router import NoWanAddressError, RouterAnswer
from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError
from hearthmail.ddns.state import Ipv6Proof

ECHOES = ("http://a.example/", "http://b.test/")
LAB = AddressConfig(allow_documentation=True, echo_urls=ECHOES, ipv6_check_url="http://reach.example/")
IPv4 = ipaddress.IPv4Address
NEVER4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
)
DOCUMENTATION4 = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")
NEVER6 = ("::/8", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2002::/16", "2001::/32", "64:ff9b::/96")
DOCUMENTATION6 = ("2001:db8::/32", "3fff::/20", "2001:2::/48")


def within(found: str | None, ranges: tuple[str, ...]) -> bool:
    return found is not None and any(ipaddress.ip_address(found) in ipaddress.ip_network(net) for net in ranges)


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.1", "172.16.3.4", "192.168.77.10", "100.64.0.1", "100.127.255.254", "169.254.1.1", "127.0.0.1"),
        *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.88.99.1", "198.18.0.1"),
        *("192.0.2.1", "198.51.100.10", "203.0.113.7", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1"),
        *("2001:db8::1", "3fff::1", "2002:c633:640a::1", "2001::1", "64:ff9b::c633:640a", "::ffff:8.8.8.8"),
        *("2001:2::1", "4000::1", "fec0::1", "192.0.0.2"),
    ],
)
def test_never_published(text: str) -> None:
    assert address.unfit(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2a01:4f8::1", "2600::1"])
def test_public(text: str) -> None:
    assert address.unfit(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize("text", ["198.51.100.10", "2001:db8:77::10", "198.18.0.1"])
def test_the_lab_may_use_documentation_ranges(text: str) -> None:
    assert address.unfit(ipaddress.ip_address(text), allow_documentation=True) is None


ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan	00000000	0100A8C0	0003	0	0	600	00000000	0	0	0
lan	00000000	FE4DA8C0	0003	0	0	100	00000000	0	0	0
tun	00000000	00000000	0001	0	0	50	00000000	0	0	0
lan	004DA8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
"""


def test_the_gateway_of_the_default_route_with_the_lowest_metric() -> None:
    assert gateway_in(ROUTES) == IPv4("192.168.77.254")
    assert gateway_in(ROUTES.splitlines()[0]) is None


# A look, with everything outside under the test's hand ---------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sources(
    own: str | None = "192.168.77.10",
    router: str | Exception | None = None,
    echoes: dict[str, str | Exception] | None = None,
    table: str | Exception = "",
    prefix: str | None = None,
    reach: Any = None,
    clock: Clock | None = None,
) -> address.Sources:
    """A world in which `router` and `echoes` (host -> answer) say what is given, and everything else is silent."""
    clock = clock or Clock()

    def ask_router(_config: AddressConfig, _memory: RouterMemory) -> RouterAnswer:
        if isinstance(router, Exception):
            raise router
        if router is None:
            raise AddressError("The router 192.168.77.254 does not tell its address.", "")
        return RouterAnswer(IPv4(router), "upnp", ipaddress.IPv6Network(prefix) if prefix else None)

    def ask_echo(echo: Echo, source: str, _limit: float) -> Any:
        answer = (echoes or {}).get(echo.operator, OSError())
        if isinstance(answer, Exception):
            raise answer
        if answer == "alive":
            return ipaddress.ip_address(source)
        found = ipaddress.ip_address(answer)
        if found.version != ipaddress.ip_address(source).version:
            raise ValueError("no address of that family")
        return found

    def ipv6_table() -> str:
        if isinstance(table, Exception):
            raise table
        return table

    def ask_reach(_url: str, own6: str) -> dict[str, Any]:
        return reach(own6) if reach else {"address": own6, "port": 25, "reachable": True}

    own4 = IPv4(own) if own else None
    return address.Sources(lambda: own4, ask_router, ask_echo, ipv6_table, ask_reach, clock, clock)


def look(
    world: address.Sources,
    config: AddressConfig = LAB,
    published4: str | None = None,
    published6: str | None = None,
    proof: Ipv6Proof | None = None,
    gone_since: float = 0.0,
    at_once: bool = False,
    memory: RouterMemory | None = None,
) -> address.Found:
    proof = proof or Ipv6Proof()
    return address.look(config, published4, published6, proof, gone_since, True, at_once, memory, world)


def same(text: str) -> dict[str, str | Exception]:
    return {"a.example": text, "b.test": text}


def test_an_own_public_address_wins() -> None:
    found = look(sources(own="198.51.100.99", router="198.51.100.10"))
    assert (found.ipv4, found.ipv4_source) == ("198.51.100.99", "interface")


def test_the_router_comes_before_the_echo_services() -> None:
    found = look(sources(router="198.51.100.10", echoes=same("198.51.100.77")))
    assert (found.ipv4, found.ipv4_source) == ("198.51.100.10", "router")


def test_the_echo_services_come_last() -> None:
    found = look(sources(echoes=same("198.51.100.10")))
    assert (found.ipv4, found.ipv4_source) == ("198.51.100.10", "echo")
    assert set(found.ipv4_reasons) == {"interface", "router"}


def test_a_failed_look_says_of_each_source_why() -> None:
    found = look(sources(echoes={"a.example": "198.51.100.1", "b.test": "198.51.100.2"}), published4="198.51.100.1")
    assert found.ipv4 is None
    assert "ipv4" in found.unknown
    assert "192.168.77.10" in found.ipv4_reasons["interface"]
    assert "does not tell" in found.ipv4_reasons["router"]
    assert "a.example says 198.51.100.1" in found.ipv4_reasons["echo"]
    assert found.ipv4_problem.count("Switch UPnP") == 1
    assert all(reason in found.ipv4_problem for reason in found.ipv4_reasons.values())


IF_INET6 = """\
fe800000000000000000000000000001 02 40 20 80 lan
00000000000000000000000000000001 01 80 10 80 lo
fd000000000000000000000000000010 02 40 00 80 lan
20010db8007700000000000000000099 02 40 00 01 lan
20010db8007700000000000000000088 02 40 00 20 lan
20010db8007700000000000000000066 02 40 00 40 lan
20010db8007700000000000000000055 02 40 00 08 lan
20010db8007700000000000000000010 02 40 00 00 lan
20010db8007700000000000000000020 02 40 00 00 lan
"""
ONLY_LOCAL = "".join(IF_INET6.splitlines(keepends=True)[:3])
OLD, NEW = "2001:db8:77::10", "2001:db8:78::10"
OLD_LINE, NEW_LINE = (f"20010db800{net}00000000000000000010 02 40 00 {{flags}} lan\n" for net in ("77", "78"))
SHOWN = Ipv6Proof(OLD, shown=True)


@pytest.mark.parametrize(
    ("own", "router", "said"),
    [
        ("192.168.77.10", "100.64.3.2", "router's own WAN address is 100.64.3.2"),
        ("192.168.77.10", "192.168.1.20", "router's own WAN address is 192.168.1.20"),
        ("192.168.77.10", "192.0.0.2", "DS-Lite"),
        ("100.64.9.9", None, "box's own address is 100.64.9.9"),
        ("192.0.0.3", None, "DS-Lite"),
    ],
)
def test_carrier_nat_is_told_and_the_echo_services_are_not_believed(own: str, router: str | None, said: str) -> None:
    world = sources(own=own, router=router, echoes=same("198.51.100.1"), table=OLD_LINE.format(flags="00"))
    found = look(world)
    assert found.ipv4 is None
    assert found.carrier_nat
    assert "ipv4" not in found.unknown
    assert said in found.ipv4_problem
    assert "mail_outbound: relay" in found.ipv4_problem
    # The same words each time: the agent tells a problem once, when it is new.
    assert look(world).ipv4_problem == found.ipv4_problem
    # IPv6 is not concerned.
    assert found.ipv6 == OLD


def test_a_shared_address_on_the_box_is_no_carrier_nat_when_the_router_has_a_public_one() -> None:
    found = look(sources(own="100.64.9.9", router="198.51.100.10"))
    assert (found.ipv4, found.carrier_nat) == ("198.51.100.10", False)


def test_echo_services_are_not_believed_when_the_router_has_no_address() -> None:
    """DS-Lite: the router says 0.0.0.0, the world sees the ISP's NAT."""
    found = look(sources(router=NoWanAddressError("It says 0.0.0.0.", ""), echoes=same("198.51.100.1")))
    assert (found.ipv4, found.carrier_nat) == (None, False)
    assert "ipv4" in found.unknown
    assert "DS-Lite" in found.ipv4_problem


def test_the_echo_services_are_spared_for_a_minute() -> None:
    clock, memory = Clock(), RouterMemory()
    assert look(sources(echoes=same("198.51.100.10"), clock=clock), memory=memory).ipv4 == "198.51.100.10"
    moved = sources(echoes=same("198.51.100.11"), clock=clock)
    clock.now += 30
    assert look(moved, memory=memory).ipv4 == "198.51.100.10"
    assert look(moved, memory=memory, at_once=True).ipv4 == "198.51.100.11"
    clock.now += 61
    back = sources(echoes=same("198.51.100.12"), clock=clock)
    assert look(back, memory=memory).ipv4 == "198.51.100.12"
    # What the router said in between makes the older answer worthless.
    assert look(sources(router="198.51.100.13", clock=clock), memory=memory).ipv4 == "198.51.100.13"
    assert look(sources(echoes={}, clock=clock), memory=memory).ipv4 is None


# IPv6 -----------------------------------------------------------------------------------------------------------


def best(table: str, published: str | None, documentation: bool = False, **more: Any) -> str | None:
    return next(iter(stable_addresses(table, published, documentation, **more)), None)


def test_the_stable_ipv6_address() -> None:
    assert best(IF_INET6, None, True) == "2001:db8:77::10"
    # What is published stays as long as it is good.
    assert best(IF_INET6, "2001:db8:77::20", True) == "2001:db8:77::20"
    assert best(IF_INET6, "2001:db8:77::99", True) == "2001:db8:77::10"
    assert best(IF_INET6, None) is None
    static = IF_INET6 + "20010db8007700000000000000000030 02 40 00 80 lan\n"
    assert best(static, None, True) == "2001:db8:77::30"


def test_the_routers_present_prefix_comes_before_what_is_published() -> None:
    both = OLD_LINE.format(flags="00") + NEW_LINE.format(flags="00")
    assert best(both, OLD, True) == OLD
    assert best(both, OLD, True, prefix=ipaddress.IPv6Network("2001:db8:78::/56")) == NEW
    found = look(sources(router="198.51.100.10", prefix="2001:db8:78::/56", table=both), published6=OLD, proof=SHOWN)
    assert found.ipv6 == NEW
    # A prefix of which the box has no address says nothing.
    assert best(both, OLD, True, prefix=ipaddress.IPv6Network("2001:db8:f::/56")) == OLD


@pytest.mark.parametrize("old", ["", OLD_LINE.format(flags="20")], ids=["gone", "deprecated"])
def test_a_new_prefix_is_followed_at_once(old: str) -> None:
    found = look(sources(table=old + NEW_LINE.format(flags="00")), published6=OLD, proof=SHOWN)
    assert (found.ipv6, found.ipv6_gone_since, found.ipv6_known) == (NEW, 0, True)


@pytest.mark.parametrize(
    "table",
    [
        "",
        OLD_LINE.format(flags="20"),
        NEW_LINE.format(flags="40"),
        NEW_LINE.format(flags="01"),
        "".join(IF_INET6.splitlines(keepends=True)[:3]),
    ],
    ids=["gone", "deprecated", "the new one is tentative", "only a temporary one", "only a unique local one"],
)
def test_the_published_address_is_waited_for_when_there_is_no_other(table: str) -> None:
    clock = Clock()
    found = look(sources(table=table, clock=clock), published6=OLD, proof=SHOWN)
    assert (found.ipv6, found.ipv6_gone_since, found.ipv6_known) == (OLD, 1000, False)
    clock.now += address.IPV6_GRACE
    found = look(sources(table=table, clock=clock), published6=OLD, proof=SHOWN, gone_since=1000)
    assert (found.ipv6, found.ipv6_known) == (None, True)


def test_the_wait_for_the_published_address_is_not_prolonged_by_a_clock_that_was_wrong() -> None:
    clock = Clock()
    found = look(sources(table="", clock=clock), published6=OLD, proof=SHOWN, gone_since=3_980_000_000.0)
    assert (found.ipv6, found.ipv6_gone_since) == (OLD, 1000)
    clock.now += address.IPV6_GRACE
    assert look(sources(table="", clock=clock), published6=OLD, gone_since=found.ipv6_gone_since).ipv6 is None


def test_what_cannot_be_read_changes_nothing() -> None:
    found = look(sources(table=PermissionError()), published6=OLD, proof=SHOWN, gone_since=7)
    assert (found.ipv6, found.ipv6_gone_since, found.ipv6_known) == (OLD, 7, False)
    assert "PermissionError" in found.ipv6_reasons["interface"]


def test_of_two_prefixes_the_one_that_the_world_sees() -> None:
    """A change of prefix without notice: the old address looks good for days (RFC 8978)."""
    both = OLD_LINE.format(flags="00") + NEW_LINE.format(flags="00")
    asked: list[str] = []

    def world(dead: str) -> address.Sources:
        there = sources(table=both)

        def ask(echo: Echo, source: str, _limit: float) -> Any:
            if source == "0.0.0.0":
                raise OSError
            asked.append(source)
            if source == dead:
                raise OSError
            return ipaddress.ip_address(source)

        return address.Sources(there.own_ipv4, there.ask_router, ask, *list(vars(there).values())[3:])

    memory = RouterMemory()
    assert look(world(OLD), published6=OLD, proof=SHOWN, memory=memory).ipv6 == NEW
    assert sorted(asked) == [OLD, OLD, NEW, NEW]
    # The comparison holds for a while; with both alive, or none, what is published stays.
    assert look(world(OLD), published6=OLD, proof=SHOWN, memory=memory).ipv6 == NEW
    assert len(asked) == 4
    assert look(world(""), published6=OLD, proof=SHOWN).ipv6 == OLD
    assert look(sources(table=both), published6=OLD, proof=SHOWN).ipv6 == OLD


def test_an_echo_that_sees_no_address_of_ours_concludes_nothing() -> None:
    both = OLD_LINE.format(flags="00") + NEW_LINE.format(flags="00")
    found = look(sources(table=both, echoes=same(NEW)), published6=OLD, proof=SHOWN)
    # Both questions were answered with the new one: only the one that was asked from it counts.
    assert found.ipv6 == NEW
    found = look(sources(table=both, echoes=same("2001:db8:99::1")), published6=OLD, proof=SHOWN)
    assert found.ipv6 == OLD


def prove(
    answer: Any, before: Ipv6Proof | None = None, at: float = 1000, at_once: bool = False, url: str = "u"
) -> Ipv6Proof:
    def ask(_url: str, _address: str) -> dict[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    return prove_ipv6(url, "2001:db8:77::10", before or Ipv6Proof(), at_once, ask, lambda: at)


def test_ipv6_is_shown_once_for_an_address() -> None:
    shown = prove({"address": "2001:db8:77:0::10", "port": 25, "reachable": True})
    assert shown.shown
    assert prove(AssertionError("asked again"), shown) is shown
    # Another address has to be shown anew.
    assert not prove(OSError(), Ipv6Proof("2001:db8:1::1", shown=True)).shown


REACHED = {"address": "2001:db8:77::10", "port": 25, "reachable": True}
REFUSED = {**REACHED, "reachable": False}
DAY, HOUR = 86400, 3600


def test_a_proof_is_renewed_once_a_day() -> None:
    shown = prove(REACHED)
    assert prove(AssertionError("asked too early"), shown, at=1000 + DAY - 1, at_once=True) is shown
    renewed = prove(REACHED, shown, at=1000 + DAY)
    assert renewed == Ipv6Proof(shown.address, shown=True, at=1000 + DAY)
    # The clock was set back since: it counts anew.
    assert prove(REACHED, renewed, at=1000).at == 1000
    # Without a service there is nobody to ask.
    assert prove(AssertionError("asked"), shown, at=1000 + DAY, url="") is shown


def test_only_two_refusals_in_a_row_end_a_proof() -> None:
    once = prove(REFUSED, prove(REACHED), at=1000 + DAY)
    assert once.shown
    assert prove(AssertionError("asked too early"), once, at=1000 + DAY + HOUR - 1) is once
    # It was a restart of the mail server, or of the router.
    again = prove(REACHED, once, at=1000 + DAY + HOUR)
    assert again == Ipv6Proof(again.address, shown=True, at=1000 + DAY + HOUR)
    # It was not.
    ended = prove(REFUSED, once, at=1000 + DAY + HOUR)
    assert not ended.shown
    assert "firewall" in ended.why
    assert prove(REACHED, ended, at=1000 + DAY + HOUR + 61).shown


@pytest.mark.parametrize("answer", [OSError(), ValueError("no JSON"), {**REFUSED, "address": "2001:db8:77::99"}])
def test_a_service_that_cannot_tell_ends_no_proof(answer: Any) -> None:
    proof = prove(REACHED)
    for days in range(1, 9):
        proof = prove(answer, proof, at=1000 + days * DAY)
        assert proof.shown
    # In the middle of a doubt neither.
    proof = prove(answer, prove(REFUSED, proof, at=1000 + 9 * DAY), at=1000 + 9 * DAY + HOUR)
    assert proof.shown
    assert not prove(REFUSED, proof, at=1000 + 9 * DAY + 2 * HOUR).shown


@pytest.mark.parametrize(
    "answer",
    [
        {"address": "2001:db8:77::10", "port": 25, "reachable": False},
        {"address": "2001:db8:77::10", "port": 25, "reachable": "yes"},
        {"address": "2001:db8:77::99", "port": 25, "reachable": True},
        {},
        OSError(),
        ValueError("no JSON"),
        RecursionError(),
    ],
)
def test_ipv6_is_not_shown(answer: Any) -> None:
    proof = prove(answer)
    assert not proof.shown
    assert proof.why


def test_after_a_failure_the_reach_service_gets_a_rest() -> None:
    failed = prove(OSError(), at=1000)
    good = {"address": "2001:db8:77::10", "port": 25, "reachable": True}
    assert prove(good, failed, at=1030) is failed
    assert prove(good, failed, at=1030, at_once=True).shown
    assert prove(good, failed, at=1061).shown


def test_the_rest_of_the_reach_service_ends_when_the_clock_is_set_back() -> None:
    good = {"address": "2001:db8:77::10", "port": 25, "reachable": True}
    assert prove(good, prove(OSError(), at=3_980_000_000), at=1000).shown


def test_without_a_reach_service_there_is_no_proof() -> None:
    assert "ddns_ipv6_check_url" in prove({}, url="").why


# Whatever anybody says -------------------------------------------------------------------------------------------


def in_ranges(ranges: tuple[str, ...]) -> Any:
    return st.sampled_from(ranges).flatmap(lambda net: st.ip_addresses(network=net)).map(str)


any4 = st.one_of(st.ip_addresses(v=4).map(str), in_ranges(NEVER4 + DOCUMENTATION4))
any6 = st.one_of(st.ip_addresses(v=6).map(str), in_ranges(NEVER6 + DOCUMENTATION6))
answers = st.one_of(st.just(OSError()), any4, any6)


@given(
    own=st.one_of(st.none(), any4),
    router=st.one_of(st.none(), any4),
    one=answers,
    other=answers,
    agree=st.booleans(),
    own6=st.lists(st.tuples(any6, st.integers(0, 255)), max_size=4),
    published4=st.one_of(st.none(), any4),
    published6=st.one_of(st.none(), any6),
    lab=st.booleans(),
)
def test_no_bad_address_ever_comes_out_of_a_look(
    own: str | None,
    router: str | None,
    one: Any,
    other: Any,
    agree: bool,
    own6: list[tuple[str, int]],
    published4: str | None,
    published6: str | None,
    lab: bool,
) -> None:
    lines = [f"{int(ipaddress.IPv6Address(text)):032x} 02 40 00 {flags:02x} lan" for text, flags in own6]
    echoes = {"a.example": one, "b.test": one if agree else other}
    config = AddressConfig(allow_documentation=lab, echo_urls=ECHOES, ipv6_check_url="http://reach.example/")
    world = sources(own, router, echoes, "\n".join(lines))
    found = look(world, config, published4, published6, Ipv6Proof(published6 or "", shown=True))
    assert not within(found.ipv4, NEVER4)
    assert not within(found.ipv6, NEVER6)
    if not lab:
        assert not within(found.ipv4, DOCUMENTATION4)
        assert not within(found.ipv6, DOCUMENTATION6)
    if found.ipv4:
        assert found.ipv4 in {own, router} or found.ipv4 == one == echoes["b.test"]
    if found.ipv6 and found.ipv6_known:
        good = {str(ipaddress.IPv6Address(text)) for text, flags in own6 if not flags & 0x69}
        assert found.ipv6 in good
