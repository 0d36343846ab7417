"""Which addresses may be published, and whom to believe."""

from __future__ import annotations

import ipaddress
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns import address
from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError, CarrierNatError
from hearthmail.ddns.state import Ipv6Proof

LAB = AddressConfig(allow_documentation=True, echo_urls=("http://a.example/", "http://b.example/"))
IPv4 = ipaddress.IPv4Address


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.1", "172.16.3.4", "192.168.77.10", "100.64.0.1", "100.127.255.254", "169.254.1.1", "127.0.0.1"),
        *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.88.99.1", "198.18.0.1"),
        *("192.0.2.1", "198.51.100.10", "203.0.113.7", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1"),
        *("2001:db8::1", "3fff::1", "2002:c633:640a::1", "2001::1", "64:ff9b::c633:640a", "::ffff:8.8.8.8"),
        *("2001:2::1", "4000::1", "fec0::1"),
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


@given(st.ip_addresses(v=4), st.booleans())
def test_private_and_shared_are_never_published(found: ipaddress.IPv4Address, lab: bool) -> None:
    ranges = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8")
    if any(found in ipaddress.ip_network(net) for net in ranges):
        assert address.unfit(found, lab)


def no_router(_port: int) -> ipaddress.IPv4Address:
    raise AddressError("No router answers to UPnP.", "")


def echoes(**answers: str | Exception) -> Callable[[str], ipaddress.IPv4Address]:
    def ask(url: str) -> ipaddress.IPv4Address:
        answer = answers[url.removeprefix("http://").split(".")[0]]
        if isinstance(answer, Exception):
            raise answer
        return IPv4(answer)

    return ask


def find(config: AddressConfig = LAB, own: str = "192.168.77.10", published: str | None = None, **how: Any) -> Any:
    how.setdefault("router", no_router)
    how.setdefault("ask", echoes(a=OSError(), b=OSError()))
    return address.find_ipv4(config, published, own=lambda: IPv4(own), **how)


def test_an_own_public_address_wins() -> None:
    assert find(own="198.51.100.99") == ("198.51.100.99", "interface")


def test_the_router_comes_before_the_echo_services() -> None:
    assert find(router=lambda _port: IPv4("198.51.100.10")) == ("198.51.100.10", "router")


@pytest.mark.parametrize("wan", ["100.64.3.2", "192.168.1.20", "10.8.0.2"])
def test_carrier_nat_is_told_and_the_echo_services_are_not_believed(wan: str) -> None:
    with pytest.raises(CarrierNatError) as caught:
        find(router=lambda _port: IPv4(wan), ask=echoes(a="198.51.100.1", b="198.51.100.1"))
    assert wan in str(caught.value)
    assert "mail_outbound: relay" in str(caught.value)


def test_two_echo_services_that_agree() -> None:
    assert find(ask=echoes(a="198.51.100.10", b="198.51.100.10")) == ("198.51.100.10", "echo")


@pytest.mark.parametrize(
    "answers",
    [
        {"a": "198.51.100.10", "b": "198.51.100.11"},
        {"a": "198.51.100.10", "b": OSError()},
        {"a": OSError(), "b": OSError()},
        {"a": "10.0.0.1", "b": "10.0.0.1"},
    ],
    ids=["disagree", "one", "none", "private"],
)
def test_nothing_is_known_otherwise(answers: dict[str, Any]) -> None:
    with pytest.raises(AddressError):
        find(ask=echoes(**answers), published="198.51.100.10")


def test_a_single_echo_service_only_confirms() -> None:
    single = AddressConfig(allow_documentation=True, echo_urls=("http://a.example/", "http://a.example/again"))
    ask = echoes(a="198.51.100.10")
    assert find(single, ask=ask, published="198.51.100.10") == ("198.51.100.10", "echo")
    with pytest.raises(AddressError, match="single echo"):
        find(single, ask=ask, published="198.51.100.9")
    with pytest.raises(AddressError):
        find(single, ask=ask)


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


def test_the_stable_ipv6_address() -> None:
    assert address.stable_ipv6(IF_INET6, None, True) == "2001:db8:77::10"
    # What is published stays as long as it is good.
    assert address.stable_ipv6(IF_INET6, "2001:db8:77::20", True) == "2001:db8:77::20"
    assert address.stable_ipv6(IF_INET6, "2001:db8:77::99", True) == "2001:db8:77::10"
    assert address.stable_ipv6(IF_INET6, None) is None
    static = IF_INET6 + "20010db8007700000000000000000030 02 40 00 80 lan\n"
    assert address.stable_ipv6(static, None, True) == "2001:db8:77::30"


def prove(
    answer: Any, before: Ipv6Proof | None = None, at: float = 1000, at_once: bool = False, url: str = "u"
) -> Ipv6Proof:
    def ask(_url: str, _address: str) -> dict[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    return address.prove_ipv6(url, "2001:db8:77::10", before or Ipv6Proof(), at_once, ask, lambda: at)


def test_ipv6_is_shown_once_for_an_address() -> None:
    shown = prove({"address": "2001:db8:77:0::10", "port": 25, "reachable": True})
    assert shown.shown
    assert prove(AssertionError("asked again"), shown) is shown
    # Another address has to be shown anew.
    assert not prove(OSError(), Ipv6Proof("2001:db8:1::1", shown=True)).shown


@pytest.mark.parametrize(
    "answer",
    [
        {"address": "2001:db8:77::10", "port": 25, "reachable": False},
        {"address": "2001:db8:77::10", "port": 25, "reachable": "yes"},
        {"address": "2001:db8:77::99", "port": 25, "reachable": True},
        {},
        OSError(),
        ValueError("no JSON"),
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


def test_without_a_reach_service_there_is_no_proof() -> None:
    assert "ddns_ipv6_check_url" in prove({}, url="").why


class FakeUpnp:
    """miniupnpc's object, as the lab's router and broken ones answer."""

    found: Exception | int = 1
    answer = "198.51.100.10"

    def discover(self) -> int:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def selectigd(self) -> None:
        if not self.found:
            raise Exception("No UPnP device discovered")  # noqa: TRY002 - as miniupnpc does

    def externalipaddress(self) -> str:
        return self.answer


@pytest.mark.parametrize(
    ("found", "answer", "said"),
    [
        (1, "198.51.100.10", None),
        (Exception("Success"), "", "No router answers"),
        (0, "", "No UPnP device"),
        (1, "0.0.0.0", "no connection"),
        (1, "", "no address"),
    ],
)
def test_the_router_by_upnp(monkeypatch: pytest.MonkeyPatch, found: Any, answer: str, said: str | None) -> None:
    upnp = FakeUpnp()
    upnp.found, upnp.answer = found, answer
    monkeypatch.setitem(sys.modules, "miniupnpc", types.SimpleNamespace(UPnP=lambda: upnp))  # type: ignore[arg-type]
    if said is None:
        assert str(address.router_ipv4(1901)) == answer
        return
    with pytest.raises(AddressError, match=said):
        address.router_ipv4(1901)
