"""Mail from the world to the home: by MX, through the router, into the Maildir, the same on every computer."""

from __future__ import annotations

import re
from email.message import EmailMessage

import pytest
from testinfra.host import Host

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO


def hop_into_the_box(mail: EmailMessage) -> str:
    """Give the line that the box wrote when it took a message over, on one line."""
    lines = [re.sub(r"\s+", " ", line) for line in mail.get_all("Received", [])]
    return next(line for line in lines if f"by {lab.MAIL_NAME} (Postfix)" in line)


def test_the_world_finds_the_box_by_mx() -> None:
    for domain in lab.DOMAINS:
        assert lab.resolve("hearth-peer", domain, "MX") == [f"10 {lab.MAIL_NAME}."]
    assert lab.resolve("hearth-peer", lab.MAIL_NAME, "A") == [lab.wan_address()]


def test_arrives_through_the_nat_over_starttls(world_has_only_ipv4: None) -> None:
    token = lab.submit_at_peer(lab.message(ALICE, HANAKO))
    hop = hop_into_the_box(lab.wait_for_mail(HANAKO, token))
    assert f"[{lab.PEER}]" in hop, "the router must not hide who sends"
    assert re.search(r"with ESMTPS\b", hop), "the peer sent in clear"
    assert "TLSv1.3" in hop


def test_lies_in_the_maildir(home: Host) -> None:
    token = lab.submit_at_peer(lab.message(ALICE, HANAKO))
    lab.wait_for_mail(HANAKO, token)
    (path,) = lab.files_with(HANAKO, token)
    file = home.file(path)
    assert (file.user, file.group, file.mode) == ("vmail", "vmail", 0o600)


def test_same_message_and_flags_on_every_computer() -> None:
    mail = lab.message(ALICE, HANAKO, body="The same everywhere.\n")
    token = lab.submit_at_peer(mail)
    lab.wait_for_mail(HANAKO, token)

    seen = {}
    for machine in ("hearth-pc", "hearth-roamer"):
        with lab.inbox(HANAKO, machine) as session:
            (uid,) = lab.found(session, token)
            seen[machine] = session.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"]
    assert seen["hearth-pc"] == seen["hearth-roamer"]
    assert b"The same everywhere." in seen["hearth-pc"]

    with lab.inbox(HANAKO, "hearth-pc", readonly=False) as session:
        session.add_flags(lab.found(session, token), [b"\\Seen", b"\\Flagged"])
    lab.wait_for_flags(HANAKO, token, {b"\\Seen", b"\\Flagged"}, "hearth-roamer")

    # POP3 takes a copy: the message stays, and to the others nothing has happened.
    session = lab.pop3("hearth-roamer", HANAKO)
    numbers = range(len(session.list()[1]), 0, -1)
    number = next(number for number in numbers if token.encode() in b"".join(session.top(number, 0)[1]))
    fetched = b"\r\n".join(session.retr(number)[1])
    session.quit()
    assert fetched.strip() == seen["hearth-pc"].strip()
    lab.wait_for_flags(HANAKO, token, {b"\\Seen", b"\\Flagged"}, "hearth-pc")

    with lab.inbox(HANAKO, "hearth-roamer", readonly=False) as roaming:
        roaming.add_flags(lab.found(roaming, token), [b"\\Answered"])
    lab.wait_for_flags(HANAKO, token, {b"\\Seen", b"\\Flagged", b"\\Answered"}, "hearth-pc")


def test_pop3_does_not_make_mail_look_read() -> None:
    token = lab.submit_at_peer(lab.message(ALICE, HANAKO))
    lab.wait_for_mail(HANAKO, token)
    session = lab.pop3("hearth-pc", HANAKO)
    session.retr(len(session.list()[1]))
    session.quit()
    lab.wait_for_flags(HANAKO, token, set(), "hearth-roamer")


def test_a_hand_written_message_by_swaks() -> None:
    token = lab.new_token()
    said = lab.run(
        "hearth-roamer",
        *("swaks", "--server", lab.wan_address(), "--tls", "--from", ALICE, "--to", HANAKO),
        *("--header", f"Message-Id: <{token}@peer.example>", "--ehlo", "roamer.isp.example"),
    ).stdout
    assert "TLS started with cipher" in said
    lab.wait_for_mail(HANAKO, token)


@pytest.mark.parametrize("name", ["postmaster", "abuse", "hostmaster", "tlsrpt", "dmarc"])
@pytest.mark.parametrize("domain", lab.DOMAINS)
def test_addresses_that_every_domain_answers(name: str, domain: str) -> None:
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE)
        assert session.rcpt(f"{name}@{domain}")[0] == 250
        session.rset()


def test_postmaster_without_a_domain_is_answered() -> None:
    # RFC 5321, section 4.5.1.
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE)
        assert session.docmd("RCPT", "TO:<postmaster>")[0] == 250
        session.rset()


def test_a_bounce_is_taken() -> None:
    mail = lab.message("mailer-daemon@peer.example", HANAKO, subject="Undelivered")
    with lab.smtp("hearth-peer", secure=True) as session:
        session.send_message(mail, from_addr="<>")
    lab.wait_for_mail(HANAKO, lab.token_of(mail))
