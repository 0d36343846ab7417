"""Mail from the home to the world: submitted with a login from anywhere, delivered by MX, believed by the receiver."""

from __future__ import annotations

import hashlib
import os
from email.headerregistry import Address

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO, TARO


@pytest.mark.parametrize("machine", ["hearth-pc", "hearth-roamer"])
@pytest.mark.parametrize("port", [465, 587])
def test_submitted_and_delivered_by_mx(machine: str, port: int) -> None:
    mail = lab.message(HANAKO, ALICE)
    token = lab.submit(mail, machine, port=port)
    got = lab.wait_for_mail(ALICE, token)
    assert got["Received-SPF"].startswith("pass"), got["Received-SPF"]
    assert "spf=pass" in got["Authentication-Results"]
    hop = next(line for line in got.get_all("Received", []) if "(Exim" in line)
    assert "esmtps" in hop, "the box delivered in clear"
    assert f"[{lab.wan_address()}]" in hop, "it left by another way than the home's line"
    assert lab.MAIL_NAME in hop, "it introduced itself by another name than that of its MX"


def test_an_alias_is_a_sender_of_its_own() -> None:
    mail = lab.message("info@hearth.example", ALICE)
    lab.wait_for_mail(ALICE, lab.submit(mail, user=HANAKO))


def test_an_attachment_of_20_mb_comes_out_as_it_went_in() -> None:
    content = os.urandom(20 * 1024 * 1024)
    mail = lab.message(HANAKO, ALICE, TARO, subject="20 MB")
    mail.add_attachment(content, maintype="application", subtype="octet-stream", filename="20 MB.bin")
    token = lab.submit(mail)
    for user in (ALICE, TARO):
        got = lab.wait_for_mail(user, token, timeout=60)
        (part,) = [part for part in got.walk() if part.get_filename()]
        assert part.get_filename() == "20 MB.bin"
        received = part.get_payload(decode=True)
        assert isinstance(received, bytes)
        assert hashlib.sha256(received).digest() == hashlib.sha256(content).digest()


def test_names_in_any_script() -> None:
    mail = lab.message(HANAKO, ALICE, subject="Grüße, 皆さん")
    del mail["From"], mail["To"]
    mail["From"] = Address("花子", addr_spec=HANAKO)
    mail["To"] = Address("Ærøskøbing, «Alice»", addr_spec=ALICE)
    mail.add_attachment(b"x", maintype="text", subtype="plain", filename="Übersicht – 概要.txt")
    got = lab.wait_for_mail(ALICE, lab.submit(mail, user=HANAKO))
    assert got["Subject"] == "Grüße, 皆さん"
    assert got["From"].addresses[0].display_name == "花子"
    assert got["To"].addresses[0].display_name == "Ærøskøbing, «Alice»"
    assert [part.get_filename() for part in got.iter_attachments()] == ["Übersicht – 概要.txt"]


@pytest.mark.parametrize("port", [25, 587, 465])
def test_smtputf8_is_not_offered(port: int) -> None:
    # The mailboxes cannot hold it, so to offer it would be a promise to bounce.
    with lab.smtp("hearth-roamer", port=port, secure=port != 465) as session:
        assert not session.has_extn("smtputf8")


def test_what_the_receiver_refuses_comes_back() -> None:
    mail = lab.message(HANAKO, "nobody@peer.example")
    token = lab.submit(mail)
    with lab.inbox(HANAKO) as session:

        def bounced() -> list[int]:
            session.noop()
            return list(session.search(["FROM", "MAILER-DAEMON", "TEXT", token]))

        assert len(lab.wait_for(bounced, 30, "the bounce of a message to nobody@peer.example")) == 1


def test_date_and_message_id_are_completed_for_our_users() -> None:
    token = lab.new_token()
    with lab.smtp("hearth-pc", port=465, user=HANAKO) as session:
        session.sendmail(HANAKO, [TARO], f"From: {HANAKO}\r\nTo: {TARO}\r\nX-Token: {token}\r\n\r\nHello\r\n")
    with lab.inbox(TARO) as box:

        def found() -> list[int]:
            box.noop()
            return list(box.search(["HEADER", "X-Token", token]))

        (uid,) = lab.wait_for(found, 30, "a message without Date and Message-ID")
        envelope = box.fetch([uid], ["ENVELOPE"])[uid][b"ENVELOPE"]
    assert envelope.date is not None
    assert envelope.message_id.endswith(b"@mail.hearth.example>")
