"""The lab is closed: nothing in it reaches a real host, but for Debian's packages through the mirror."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.flow import lab
from tools.second_lab import SecondLab

# Two addresses of the real world. Nobody is asked for them: only the way there is looked up.
OUTSIDE = {"-4": "192.88.99.1", "-6": "2606:4700::1"}
MIRROR, MIRROR_PORT = "198.51.100.50", 3142


def machines() -> list[str]:
    """Name all machines of the lab that runs."""
    listed = ["podman", "ps", "--filter", "label=hearthmail.clone", "--format", "{{.Names}}"]
    return subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()


def way_out(machine: str, family: str) -> str:
    """Name the interface by which a machine would send to the world; empty where it has no way."""
    done = lab.run(machine, "ip", family, "-o", "route", "get", OUTSIDE[family], check=False)
    if done.returncode:
        assert "unreachable" in done.stderr, done.stderr
        return ""
    words = done.stdout.split()
    return words[words.index("dev") + 1]


@pytest.mark.parametrize("family", OUTSIDE)
def test_no_way_leads_out(family: str) -> None:
    ways = {machine: way for machine in machines() if (way := way_out(machine, family))}
    # The router, to which the home's machines send, has no way itself.
    at_home = {"hearth-home": "lan", "hearth-pc": "lan"}
    assert ways == at_home | ({"hearth-mirror": "uplink"} if family == "-4" else {})


def test_the_mirror_hands_nothing_on() -> None:
    for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        assert lab.out("hearth-mirror", "sysctl", "-n", setting) == "0"


@pytest.mark.parametrize(
    ("method", "what", "status"),
    [
        ("GET", "{archive}/dists/{release}/InRelease", 200),
        ("GET", "http://www.example.com/", 403),
        ("CONNECT", "www.example.com:443", 403),
    ],
)
def test_the_mirror_gives_debian_packages_only(method: str, what: str, status: int) -> None:
    archive = lab.out("hearth-home", "awk", '$1 == "deb" { print $2; exit }', "/etc/apt/sources.list")
    with (
        lab.node("hearth-home"),
        contextlib.closing(http.client.HTTPConnection(MIRROR, MIRROR_PORT, timeout=lab.TIMEOUT)) as proxy,
    ):
        proxy.request(method, what.format(archive=archive, release=lab.RELEASE))
        assert proxy.getresponse().status == status


@pytest.mark.release("trixie")
def test_a_second_lab_sees_nothing_of_this_one_and_ends_with_its_maker(tmp_path: Path) -> None:
    """`make test` has one; here is a third place, with nothing in it."""

    def said(place: SecondLab, *command: str) -> str:
        return subprocess.run(place.inside(command), check=True, capture_output=True, text=True).stdout

    with SecondLab(tmp_path) as place:
        assert said(place, "podman", "ps", "--all", "--quiet") == ""
        assert "hearthmail-world" in said(place, "podman", "images")
        assert set(re.findall(r"^\d+: (\w+)", said(place, "ip", "-oneline", "link"), re.MULTILINE)) == {"lo", "tap0"}
        assert "lab" not in said(place, "ls", str(lab.BUILD)).split()
        left = subprocess.Popen(place.inside(["sh", "-c", "echo begun; exec sleep 1000"]), stdout=subprocess.PIPE)
        assert left.stdout
        assert left.stdout.readline() == b"begun\n"
    assert left.wait(60) == -signal.SIGKILL
