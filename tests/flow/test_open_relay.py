"""The box passes mail on for nobody but its own users: every old way to ask for it, from everywhere."""

from __future__ import annotations

import smtplib
from itertools import batched

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, BOB, HANAKO, TARO

# Sender, recipient; {ip} is the box's address as the sender sees it. The forms are those by which scanners look for
# open relays: RFC 5321's source routes, the percent hack, bang paths, quoted local parts, address literals.
FORMS = [
    ("", ALICE),
    (BOB, ALICE),
    (HANAKO, ALICE),
    ("nobody@hearth.example", ALICE),
    ("root@mail.hearth.example", ALICE),
    ("root@localhost", ALICE),
    ("root@[{ip}]", ALICE),
    ("root", ALICE),
    (BOB, "alice@mx.peer.example"),
    (BOB, "alice@[198.51.100.80]"),
    (BOB, "alice@[IPv6:2001:db8:100::80]"),
    (BOB, "ALICE@PEER.EXAMPLE."),
    (BOB, "alice%peer.example@hearth.example"),
    (BOB, "alice%peer.example@mail.hearth.example"),
    (BOB, "alice%peer.example@localhost"),
    (BOB, "alice%peer.example@[{ip}]"),
    (BOB, "alice%peer.example"),
    (BOB, '"alice@peer.example"'),
    (BOB, '"alice%peer.example"'),
    (BOB, '"alice@peer.example"@hearth.example'),
    (BOB, '"alice@peer.example"@mail.hearth.example'),
    (BOB, '"alice@peer.example"@[{ip}]'),
    (BOB, "alice@peer.example@hearth.example"),
    (BOB, "alice@peer.example@mail.hearth.example"),
    (BOB, "alice@peer.example@[{ip}]"),
    (BOB, "@hearth.example:alice@peer.example"),
    (BOB, "@mail.hearth.example:alice@peer.example"),
    (BOB, "@[{ip}]:alice@peer.example"),
    (BOB, "@mail.hearth.example,@peer.example:alice@peer.example"),
    (BOB, "peer.example!alice"),
    (BOB, "peer.example!alice@hearth.example"),
    (BOB, "peer.example!alice@mail.hearth.example"),
    (BOB, "peer.example!alice@[{ip}]"),
    (BOB, "hearth.example!peer.example!alice"),
    (HANAKO, "alice%peer.example@hearth.example"),
]

# With a login, one's own address may send to anybody, and so may the empty sender of a receipt (RFC 8098, section 3):
# so the sender has to be somebody else, or the recipient nobody.
WITH_LOGIN = [form for form in FORMS if form[0]] + [
    (TARO, to) for _, to in FORMS if "@hearth.example" in to and not to.startswith("@")
]

WAYS = {
    "25, no login": (25, None),
    "25 in TLS, no login": (25, None),
    "587, no login": (587, None),
    "465, no login": (465, None),
    "465, taro's login": (465, TARO),
    "587, taro's login": (587, TARO),
}


def target(machine: str, family: str) -> str:
    """Give the box's address as that machine reaches it."""
    if family == "IPv6":
        return lab.home_ipv6()
    return lab.HOME_LAN if machine == "hearth-pc" else lab.wan_address()


def answer(session: smtplib.SMTP, sender: str, recipient: str) -> tuple[int, bytes]:
    """Try one form up to RCPT."""
    session.rset()
    # By hand: smtplib would tidy the addresses up.
    code, text = session.docmd("MAIL", f"FROM:<{sender}>")
    if code == 250:
        code, text = session.docmd("RCPT", f"TO:<{recipient}>")
    return code, text


@pytest.mark.parametrize("machine", ["hearth-roamer", "hearth-pc"])
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("way", WAYS)
def test_relays_for_nobody(machine: str, family: str, way: str) -> None:
    port, user = WAYS[way]
    address = target(machine, family)
    accepted = []
    # Postfix slows down after ten errors of a session; eight at a time stay below.
    for some in batched(WITH_LOGIN if user else FORMS, 8):
        with lab.smtp(machine, address, port, user=user, secure=port == 587 or "TLS" in way) as session:
            for sender, recipient in some:
                recipient = recipient.format(ip=address)
                code, text = answer(session, sender.format(ip=address), recipient)
                # Not 4xx: that invites to try again.
                if not 500 <= code < 600:
                    accepted.append((sender, recipient, code, text))
    assert not accepted


def test_at_least_twenty_forms() -> None:
    assert len(set(FORMS)) >= 20


def test_nothing_is_on_its_way_to_the_peer() -> None:
    waiting = [entry for entry in lab.queue() for to in entry["recipients"] if "peer.example" in to["address"]]
    assert not waiting
