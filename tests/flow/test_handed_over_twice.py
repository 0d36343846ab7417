"""Postfix hands a message over twice when it has not heard Dovecot's answer: it is stored once, and once it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flow import lab
from tests.flow.lab import HANA
from tests.flow.sieve import Sieve

HOME = "hearth-home"
# What Postfix says to Dovecot, at its socket. The line "Received" is the one that Postfix writes.
SAY = """
import smtplib, sys
recipient, queue_id, token = sys.argv[1:]
lines = (
    "Received: from mx.peer.example (mx.peer.example [198.51.100.80])",
    "\\tby mail.hearth.example (Postfix) with ESMTPS id " + queue_id,
    "\\tfor <" + recipient + ">; Tue, 24 Nov 2026 10:10:10 +0000 (UTC)",
    "From: alice@peer.example", "To: " + recipient, "Message-ID: <" + token + "@peer.example>", "", "Hello.", "",
)
with smtplib.LMTP("/run/dovecot/postfix-lmtp") as dovecot:
    try:
        dovecot.sendmail("alice@peer.example", [recipient], "\\r\\n".join(lines))
        print("taken")
    except smtplib.SMTPResponseException as error:
        print(error.smtp_code)
"""
COPY = 'require ["copy", "fileinto", "mailbox"];\nfileinto :copy :create "Copies";\n'
SORT = 'require ["fileinto", "mailbox"];\nfileinto :create "Sorted";\n'


def hand_over(token: str, queue_id: str = "", recipient: str = HANA) -> str:
    """Give a message to Dovecot as Postfix does: "taken", or the code of its refusal."""
    return lab.out(HOME, "python3", "-c", SAY, recipient, queue_id or token.upper(), token).strip()


def copies(token: str, folder: str) -> int:
    """Count the copies of a message in one folder."""
    with lab.inbox(HANA, folder=folder) as session:
        return len(lab.found(session, token))


@pytest.fixture(params=[("", "INBOX"), (SORT, "Sorted"), (COPY, "INBOX")], ids=["no script", "sorted", "copied"])
def folder(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name the folder in which a user's mail is stored, without and with a filter of the user's own."""
    script, folder = request.param
    if not script:
        yield folder
        return
    sieve = Sieve("hearth-pc", HANA)
    sieve.put("test", script)
    # So the folders are there.
    assert hand_over(lab.new_token()) == "taken"
    yield folder
    sieve.put("test", "keep;\n")


def test_what_is_handed_over_again_is_stored_once(folder: str) -> None:
    token = lab.new_token()
    assert [hand_over(token), hand_over(token), hand_over(token)] == ["taken"] * 3
    assert copies(token, folder) == 1


def test_what_was_accepted_twice_comes_twice() -> None:
    token = lab.new_token()
    for queue_id in (f"{token}1", f"{token}2"):
        assert hand_over(token, queue_id) == "taken"
    assert lab.count(HANA, token) == 2


def test_two_addresses_of_one_user_get_a_copy_each() -> None:
    token = lab.new_token()
    for recipient in (HANA, HANA.replace("@", "+list@")):
        assert hand_over(token, recipient=recipient) == "taken"
    assert lab.count(HANA, token) == 2


def test_what_could_not_be_stored_comes_again(folder: str) -> None:
    token = lab.new_token()
    place = "/".join([lab.maildir(HANA), *([] if folder == "INBOX" else [f".{folder}"]), "tmp"])
    lab.run(HOME, "sh", "-c", f"mv {place} {place}.away && touch {place}")
    try:
        assert hand_over(token) == "451"
    finally:
        lab.run(HOME, "sh", "-c", f"rm {place} && mv {place}.away {place}")
    assert copies(token, folder) == 0
    assert [hand_over(token), hand_over(token)] == ["taken"] * 2
    assert copies(token, folder) == 1


def test_postfix_writes_the_line_that_tells_them_apart() -> None:
    token = lab.submit_at_peer(lab.message(lab.ALICE, HANA))
    mail = lab.wait_for_mail(HANA, token)
    _, postfix, *_ = mail.get_all("Received", [])
    assert "(Postfix) with ESMTPS id " in postfix
