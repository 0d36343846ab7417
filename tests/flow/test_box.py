"""The box itself: services, firewall, files with secrets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.flow import lab

SERVED_AT_HOME = {22, 25, 53, 110, 143, 465, 587, 993, 995, 4190}
# Well-known ones, and those of programs that belong to mail servers.
CLOSED = [21, 23, 24, 79, 80, 111, 119, 389, 443, 783, 3306, 5353, 5432, 6379, 8080, 8891, 10025, 11332, 11334, 12345]
FORWARDED = {25, 465, 587, 993, 995}


@pytest.mark.parametrize("unit", ["postfix", "dovecot", "unbound", "hearth-firewall", "hearth-ddns.service"])
def test_runs_and_will_after_a_reboot(home: Host, unit: str) -> None:
    # Debian 12 runs Postfix as an instance, which postfix.service brings up at boot.
    instance = "postfix@-" if unit == "postfix" and lab.RELEASE == "bookworm" else unit
    assert home.service(instance).is_running
    assert home.service(unit).is_enabled


def test_nothing_has_failed(home: Host) -> None:
    assert home.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_nobody_listens_but_those_we_know(home: Host) -> None:
    lines = home.check_output("ss -ltnH").splitlines()
    open_to_others = {int(line.split()[3].rpartition(":")[2]) for line in lines if not is_loopback(line.split()[3])}
    assert open_to_others <= SERVED_AT_HOME


def is_loopback(listener: str) -> bool:
    """Tell whether a listener is for the box itself only."""
    return listener.startswith(("127.", "[::1]"))


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_what_the_home_reaches(family: str) -> None:
    address = lab.HOME_LAN if family == "IPv4" else lab.home_ipv6()
    reached = {port for port in SERVED_AT_HOME if lab.opens("hearth-pc", address, port)}
    # The home's global IPv6 prefix changes: what is for the home alone is served over IPv4 only.
    assert reached == (SERVED_AT_HOME if family == "IPv4" else SERVED_AT_HOME - {53, 4190})


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_what_the_world_reaches(family: str) -> None:
    address = lab.wan_address() if family == "IPv4" else lab.home_ipv6()
    reached = {port for port in SERVED_AT_HOME | {80, 443} if lab.opens("hearth-roamer", address, port)}
    assert reached == FORWARDED


@pytest.fixture
def strangers_listen() -> Iterator[list[int]]:
    """Have a program listen on the box, on ports that nobody opened."""
    listeners = []
    with lab.node("hearth-home"):
        for port in CLOSED:
            listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            listeners.append(listener)
    yield CLOSED
    for listener in listeners:
        listener.close()


def test_other_ports_are_closed_even_to_the_home(strangers_listen: list[int]) -> None:
    reached = [
        (address, port)
        for address in (lab.HOME_LAN, lab.home_ipv6())
        for port in strangers_listen
        if lab.opens("hearth-pc", address, port)
    ]
    assert not reached


def test_other_ports_are_closed_to_the_world(strangers_listen: list[int]) -> None:
    # Of these the router lets in two, as a careless one would: there the box's own firewall has to hold.
    reached = [
        (address, port)
        for address in (lab.wan_address(), lab.home_ipv6())
        for port in {80, 443} & set(strangers_listen)
        if lab.opens("hearth-roamer", address, port)
    ]
    assert not reached


def test_what_others_filter_stays(home: Host) -> None:
    # As Docker's table does.
    home.check_output("nft add table inet others '{ chain forward { type filter hook forward priority 5; } ; }'")
    try:
        home.check_output("systemctl reload hearth-firewall")
        home.check_output("systemctl restart hearth-firewall")
        tables = home.check_output("nft list tables")
    finally:
        home.check_output("nft delete table inet others")
    assert "table inet others" in tables
    assert "table inet hearthmail" in tables


@pytest.mark.parametrize(
    "path",
    ["/etc/hearthmail/tls/mail.pem", "/etc/hearthmail/ddns.json", "/etc/dovecot/users"],
)
def test_secrets_are_not_for_everybody(home: Host, path: str) -> None:
    file = home.file(path)
    assert file.exists
    assert file.mode & 0o007 == 0, oct(file.mode)


def test_no_password_stands_anywhere(home: Host) -> None:
    found = home.run("grep -rlE '(hanako|taro|hana|small)-secret' /etc /var/log /var/lib/hearthmail /root /home")
    # The password at the ISP is needed as it is; role postfix writes it only while mail leaves through a relay.
    assert [path for path in found.stdout.splitlines() if "relay" not in path] == []


def test_no_user_of_the_mail_is_a_user_of_the_system(home: Host) -> None:
    for name in ("hanako", "taro", "hana", "small"):
        assert not home.user(name).exists


def test_the_configuration_has_no_warnings(home: Host) -> None:
    assert home.run("postfix check").stderr == ""
    assert "warning:" not in home.check_output("postconf -n 2>&1").lower()
    assert "warning:" not in home.check_output("doveconf -n 2>&1 >/dev/null").lower()
