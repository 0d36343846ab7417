"""Where the public address comes from: the router by UPnP or NAT-PMP, echo services when it is silent.

Each test asks `hearth-ddns address` on the box with a configuration of its own; what the agent does by itself in the
meantime rests on the site's one.
"""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dns.message
import dns.rrset
import pytest

from tests.flow import lab

# The agent is the same on both.
pytestmark = pytest.mark.release("trixie")

CONFIG, STATE = "/run/flow-test-ddns.json", "/run/flow-test-no-state.json"
MINIUPNPD = "/etc/miniupnpd/miniupnpd.conf"
PORT = 8099
LIE = "198.51.100.49"


@pytest.fixture(autouse=True)
def no_configuration_stays() -> Iterator[None]:
    """Take our configuration, which holds the provider's credential, off the box again."""
    yield
    lab.run("hearth-home", "rm", "-f", CONFIG)


def configure(**address: Any) -> None:
    """Write the box's configuration with other settings of the address, for root only."""
    config = json.loads(lab.out("hearth-home", "cat", "/etc/hearthmail/ddns.json"))
    config["address"] |= address
    lab.run("hearth-home", "install", "-m", "600", "/dev/null", CONFIG)
    lab.run("hearth-home", "tee", CONFIG, stdin=json.dumps(config))


def find(**address: Any) -> dict[str, Any]:
    """Look for the address on the box, without what the agent remembers."""
    configure(**address)
    done = lab.run("hearth-home", "hearth-ddns", "--config", CONFIG, "--state", STATE, "address", "--json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def listens(machine: str, protocol: str, port: int) -> bool:
    """Tell whether something on a machine listens on a port."""
    return bool(lab.out(machine, "ss", f"-ln{protocol}H", f"sport = :{port}"))


# The router ------------------------------------------------------------------------------------------------------


def restart_miniupnpd() -> None:
    """Start the router's UPnP service again, and wait until it can be asked."""
    lab.run("hearth-router", "systemctl", "restart", "miniupnpd")
    lab.wait_for(lambda: listens("hearth-router", "t", 5000), 20, "the router's UPnP service listening")


@pytest.fixture
def router_is_silent() -> Iterator[None]:
    """Let the router tell nothing about its address."""
    try:
        lab.run("hearth-router", "systemctl", "stop", "miniupnpd")
        yield
    finally:
        restart_miniupnpd()


@pytest.fixture
def router_speaks_natpmp() -> Iterator[None]:
    """Switch UPnP off at the router, and NAT-PMP on; the lab's addresses are not public ones, which it must allow."""
    before = lab.out("hearth-router", "cat", MINIUPNPD) + "\n"
    lines = [line for line in before.splitlines() if not re.match(r"(enable_upnp|enable_pcp_pmp|enable_natpmp)=", line)]
    lines += ["enable_upnp=no", "enable_pcp_pmp=yes", "ext_allow_private_ipv4=yes"]
    rule = ("rule", "inet", "router", "input")
    handle = ""
    try:
        lab.run("hearth-router", "tee", MINIUPNPD, stdin="\n".join(lines) + "\n")
        opening = ("iifname", "lan", "udp", "dport", "5351", "accept")
        added = lab.out("hearth-router", "nft", "--echo", "--handle", "insert", *rule, *opening)
        handle = added.rpartition("# handle ")[2].split()[0]
        lab.run("hearth-router", "systemctl", "restart", "miniupnpd")
        lab.wait_for(lambda: listens("hearth-router", "u", 5351), 20, "the router listening for NAT-PMP")
        yield
    finally:
        if handle:
            lab.run("hearth-router", "nft", "delete", *rule, "handle", handle)
        lab.run("hearth-router", "tee", MINIUPNPD, stdin=before)
        restart_miniupnpd()


def test_the_router_by_upnp() -> None:
    found = find(sources=["router"], router_protocols=["upnp"])
    assert (found["ipv4"], found["ipv4_source"]) == (lab.wan_address(), "router"), found


def test_the_router_by_natpmp_when_upnp_is_off(router_speaks_natpmp: None) -> None:
    found = find(sources=["router"], router_protocols=["upnp"])
    assert found["ipv4"] is None, found
    found = find(sources=["interface", "router"])
    assert (found["ipv4"], found["ipv4_source"]) == (lab.wan_address(), "router"), found


def test_another_than_the_router_is_not_believed() -> None:
    """Whatever answers to the search: with another gateway it is not the router."""

    def refused() -> bool:
        found = find(sources=["router"], router_protocols=["upnp"], router=lab.HOME_LAN)
        assert found["ipv4"] is None
        return f"the router is {lab.HOME_LAN}" in found["ipv4_reasons"]["router"]

    # A search goes by multicast, without a second try: an answer may be missed.
    lab.wait_for(refused, 60, "the answer of another than the router being refused")


# Echo services ---------------------------------------------------------------------------------------------------


@contextmanager
def web_echo(machine: str, address: str, answer: str | None = None) -> Iterator[str]:
    """Serve, on a machine of the lab's internet, the asking address, or what is given; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{answer or self.client_address[0]}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    with lab.node(machine):
        server = http.server.ThreadingHTTPServer((address, PORT), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{address}:{PORT}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def dns_echo(machine: str, address: str, answer: str) -> Iterator[str]:
    """Serve one address for every question over DNS; gives the URL of the service."""
    with lab.node(machine):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, PORT))
    server.settimeout(0.1)
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            try:
                data, sender = server.recvfrom(4096)
            except TimeoutError:
                continue
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 0, "IN", "A", answer))
            server.sendto(reply.to_wire(), sender)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield f"dns://{address}:{PORT}/whoami.example/A"
    finally:
        end.set()
        thread.join()
        server.close()


def test_echo_services_when_the_router_is_silent(router_is_silent: None) -> None:
    with web_echo("hearth-peer", lab.PEER) as one, web_echo("hearth-dns", lab.RESOLVER) as other:
        found = find(echo_urls=[one, other])
    assert (found["ipv4"], found["ipv4_source"]) == (lab.wan_address(), "echo"), found
    assert set(found["ipv4_reasons"]) == {"interface", "router"}


def test_dns_confirms_what_the_web_says(router_is_silent: None) -> None:
    here = lab.wan_address()
    with web_echo("hearth-peer", lab.PEER) as one, dns_echo("hearth-dns", lab.RESOLVER, here) as other:
        found = find(echo_urls=[one, other])
    assert (found["ipv4"], found["ipv4_source"]) == (here, "echo"), found


Liar = Callable[[str, str, str], Any]


@pytest.mark.parametrize("lie", [web_echo, dns_echo], ids=["web", "poisoned DNS"])
def test_one_that_lies_changes_nothing(router_is_silent: None, lie: Liar) -> None:
    zone = lab.provider_zone("hearth.example")
    with web_echo("hearth-peer", lab.PEER) as one, lie("hearth-dns", lab.RESOLVER, LIE) as other:
        found = find(echo_urls=[one, other])
        assert found["ipv4"] is None
        assert "ipv4" in found["unknown"]
        assert f"says {LIE}" in found["ipv4_reasons"]["echo"]
        # With all that the agent remembers, it would not write anything either.
        planned = lab.run("hearth-home", "hearth-ddns", "--config", CONFIG, "plan", check=False)
    assert planned.returncode == 0, planned.stdout
    assert lab.provider_zone("hearth.example") == zone


def test_two_forged_answers_by_dns_are_one_voice(router_is_silent: None) -> None:
    """Who redirects port 53 answers for every name server."""
    with (
        dns_echo("hearth-peer", lab.PEER, LIE) as one,
        dns_echo("hearth-dns", lab.RESOLVER, LIE) as other,
    ):
        assert find(echo_urls=[one, other])["ipv4"] is None
