"""A mistake in what a person wrote is named, with the way out, before anything on the box is changed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.flow import lab

# The controller finds the mistakes, whatever the box is.
pytestmark = pytest.mark.release("bookworm")

USERS: list[dict[str, Any]] = [
    {"address": "hanako@hearth.example", "password": "hanako-secret"},
    {"address": "taro@hearth.example", "password": "taro-secret"},
]
DOMAIN = {"name": "hearth.example", "dns": "lab"}
POWERDNS = {"type": "powerdns", "url": "http://api.provider.example:8081", "api_key": "lab-api-key"}

# What is wrong -> (variables, the variable that the message names, its way out).
MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "user without password": (
        {"mail_users": [{"address": "hanako@hearth.example"}], "mail_aliases": {}},
        "mail_users[0].password of hanako@hearth.example",
        "put the secret into the vault file",
    ),
    "alias to nowhere": (
        {"mail_aliases": {"sales@hearth.example": "nobody@hearth.example"}},
        "mail_aliases[sales@hearth.example]",
        "add the user to mail_users",
    ),
    "invalid domain": (
        {"mail_domains": [DOMAIN, {"name": "second..example", "dns": "lab"}]},
        "mail_domains[1].name",
        "Write it like hearth.example",
    ),
    "duplicate user": (
        {"mail_users": [*USERS, USERS[0]], "mail_aliases": {}},
        "mail_users[2].address",
        "Keep one of them",
    ),
    "unknown provider type": (
        {"dns_providers": {"lab": {**POWERDNS, "type": "powerdsn"}}},
        "dns_providers.lab.type",
        "Write powerdns",
    ),
    "missing credential": (
        {"dns_providers": {"lab": {"type": "powerdns", "url": POWERDNS["url"]}}},
        "dns_providers.lab.api_key",
        "vault",
    ),
    "malformed address": (
        {"mail_users": [{"address": "hanako.hearth.example", "password": "hanako-secret"}], "mail_aliases": {}},
        "mail_users[0].address",
        "hanako@hearth.example",
    ),
    "quota that is no size": (
        {"mail_users": [{**USERS[0], "quota": "a lot"}], "mail_aliases": {}},
        "mail_users[0].quota",
        "such as 5G",
    ),
    "misspelt variable": ({"mail_user": USERS}, "mail_user", "mail_users"),
    "relay without a server": (
        {"mail_outbound": "relay", "mail_relay": None},
        "mail_relay",
        "submission server",
    ),
}


def fingerprint() -> str:
    """Sum up every file that a deployment could change, and what runs."""
    look = (
        "find /etc /usr/local /var/lib/hearthmail /var/spool/cron -xdev -type f -printf '%p %s %T@ %m %U\\n' | sort;"
        " dpkg-query -W; nft list table inet hearthmail | grep -v counter;"
        " systemctl show -P ActiveEnterTimestampMonotonic postfix dovecot unbound"
    )
    # The agent's own memory is written by itself.
    text = lab.run("hearth-home", "sh", "-c", look).stdout
    return "\n".join(line for line in text.splitlines() if "/var/lib/hearthmail/" not in line)


Runs = dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def runs() -> tuple[Runs, bool]:
    """Run site.yml with every mistake, a few at a time; give what each said, and whether the box is as before."""
    before = fingerprint()
    with ThreadPoolExecutor(3) as pool:
        started = {
            what: pool.submit(lab.playbook, "playbooks/site.yml", extra=extra, check=False)
            for what, (extra, _, _) in MISTAKES.items()
        }
        done = {what: run.result() for what, run in started.items()}
    return done, fingerprint() == before


def assert_stopped(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Check that a run ended in its first play, with a message."""
    text = done.stdout.replace('\\"', '"')
    assert done.returncode != 0
    for words in said:
        assert words in text, text[-3000:]
    assert "PLAY [Make the box a mail server]" not in done.stdout
    counts = lab.recap(done)
    assert (counts["changed"], counts["failed"]) == (0, 1)


@pytest.mark.parametrize("what", MISTAKES)
def test_stops_and_names(what: str, runs: tuple[Runs, bool]) -> None:
    _, variable, way_out = MISTAKES[what]
    assert_stopped(runs[0][what], variable, way_out)


def test_the_box_is_as_it_was(runs: tuple[Runs, bool]) -> None:
    assert runs[1]


@pytest.mark.parametrize("what", MISTAKES)
def test_no_secret_is_shown(what: str, runs: tuple[Runs, bool]) -> None:
    said = runs[0][what].stdout + runs[0][what].stderr
    assert "-secret" not in said.replace("hearth-secret", "")
    assert "lab-api-key" not in said


@pytest.fixture
def squatter() -> Iterator[str]:
    """Let another program hold the port of IMAP."""
    program = "import socket, signal; held = socket.create_server(('0.0.0.0', 143)); signal.pause()"
    unit = "--unit=flow-test-squatter"
    with lab.without_dovecot():
        try:
            lab.run("hearth-home", "systemd-run", "--collect", unit, "/usr/bin/python3", "-c", program)
            lab.wait_for(lambda: lab.out("hearth-home", "ss", "-ltnH", "sport = :143"), 10, "the program on port 143")
            yield "python3"
        finally:
            lab.run("hearth-home", "systemctl", "stop", "flow-test-squatter", check=False)


def test_a_port_held_by_another_program(squatter: str) -> None:
    before = fingerprint()
    done = lab.playbook("playbooks/site.yml", check=False)
    assert_stopped(done, "143", squatter, "systemctl disable --now")
    assert fingerprint() == before
