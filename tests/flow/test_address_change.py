"""The line gets another address while mail is on its way: the DNS follows, nothing is lost, nothing arrives twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO

ADDRESSES = ("198.51.100.23", "198.51.100.24")
PREFIXES = ("2001:db8:78::/64", "2001:db8:79::/64")
# Seconds between two messages while the line moves.
PACE = 0.5


HOOK = "/etc/hearthmail/ddns.d/flow-test"
TOLD = "/run/flow-test-told"


@pytest.fixture
def hook() -> Iterator[None]:
    """Let a program be told of changes of the address."""
    text = f'#!/bin/sh\necho "$(id -u) $HEARTH_OLD_IPV4 $HEARTH_NEW_IPV4" >>{TOLD}\n'
    lab.run("hearth-home", "tee", HOOK, stdin=text)
    lab.run("hearth-home", "chmod", "755", HOOK)
    try:
        yield
    finally:
        lab.run("hearth-home", "rm", "-f", HOOK, TOLD)


def moved_at() -> float:
    """Tell when the router got its present address, in seconds since 1970."""
    return lab.path_of("hearth-router", "/etc/lab-wan-address").stat().st_mtime


@pytest.fixture
def impatient_peer() -> Iterator[None]:
    """Do not wait long for a connection that was open when the line moved."""
    with lab.impatient_peer():
        yield


# Debian 12 moves in test_restart.
@pytest.mark.release("trixie")
def test_the_address_moves_while_mail_is_on_its_way(
    world_has_only_ipv4: None, hook: None, impatient_peer: None, capsys: pytest.CaptureFixture[str]
) -> None:
    old = lab.wan_address()
    new = next(address for address in ADDRESSES if address != old)
    writes = lab.provider_writes()
    others = [line for line in lab.provider_zone("hearth.example") if lab.MAIL_NAME not in line.split("\t")[0]]
    tokens = []
    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(lab.move, wan_address=new)
        while not moving.done():
            tokens.append(lab.submit_at_peer(lab.message(ALICE, HANAKO)))
            wait([moving], timeout=PACE)
        moving.result()
    # Its DNS is wrong now: this one finds nobody at home.
    tokens.append(lab.submit_at_peer(lab.message(ALICE, HANAKO)))
    lab.wait_for(lambda: lab.published(lab.MAIL_NAME) == [new], 90, f"A of {lab.MAIL_NAME} being {new}")
    seconds = time.time() - moved_at()
    # Others remember the old address for a minute at most (TTL 60): that is not waited for.
    lab.world_forgets(*lab.DOMAINS)
    for domain in lab.DOMAINS:
        assert lab.resolve("hearth-peer", domain, "MX") == [f"10 {lab.MAIL_NAME}."]
    assert lab.resolve("hearth-peer", lab.MAIL_NAME) == [new]
    tokens.append(lab.submit_at_peer(lab.message(ALICE, HANAKO)))
    with capsys.disabled():
        print(f"\nThe provider's servers answered with the new address {seconds:.1f} s after the line had got it.")

    for token in tokens:
        lab.wait_for_mail(HANAKO, token, timeout=120)
    assert lab.provider_writes() - writes == 1, "one change, one write"
    told = lab.path_of("hearth-home", TOLD)
    lab.wait_for(told.exists, 30, "the program of ddns.d being told")
    assert told.read_text() == f"0 {old} {new}\n"
    after = [line for line in lab.provider_zone("hearth.example") if lab.MAIL_NAME not in line.split("\t")[0]]
    assert after == others


def test_mail_goes_out_from_the_new_address() -> None:
    here = lab.wan_address()
    lab.wait_for(lambda: lab.resolve("hearth-peer", lab.MAIL_NAME) == [here], 120, "the world knowing the new address")
    got = lab.wait_for_mail(ALICE, lab.submit(lab.message(HANAKO, ALICE), "hearth-roamer"))
    assert f"[{here}]" in " ".join(got.get_all("Received", []))
    assert got["Received-SPF"].startswith("pass"), got["Received-SPF"]


@pytest.mark.release("trixie")
def test_aaaa_follows_the_prefix_only_after_the_world_came_in() -> None:
    prefix = next(one for one in PREFIXES if not lab.home_ipv6().startswith(one.removesuffix(":/64")))
    with lab.world_without_ipv6():
        lab.move(lan_prefix=prefix)
        start = prefix.removesuffix(":/64")
        lab.wait_for(lambda: lab.home_ipv6().startswith(start), 30, "the box having an address of the new prefix")
        here = lab.home_ipv6()
        lab.run("hearth-home", "hearth-ddns", "poke")
        # The old one leads nowhere, the new one nobody could reach yet: there is none.
        lab.wait_for(lambda: not lab.published(lab.MAIL_NAME, "AAAA"), 60, "the old AAAA being gone")

    lab.run("hearth-home", "hearth-ddns", "apply")
    lab.wait_for(lambda: lab.published(lab.MAIL_NAME, "AAAA") == [here], 60, f"AAAA being {here}")
    lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)), timeout=60)
