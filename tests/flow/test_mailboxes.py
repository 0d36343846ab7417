"""Who gets what: users, aliases, plus-addresses, the second domain, filters. All inside the home."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANA, HANAKO, TARO
from tests.flow.sieve import Sieve


def test_from_user_to_user() -> None:
    token = lab.submit(lab.message(HANAKO, TARO))
    lab.wait_for_mail(TARO, token)
    assert lab.count(HANAKO, token) == 0


@pytest.mark.parametrize(
    ("address", "users"),
    [
        ("info@hearth.example", [HANAKO]),
        ("sales@hearth.example", [HANAKO, TARO]),
        ("contact@second.example", [HANAKO]),
        ("hana@second.example", [HANA]),
        ("hanako+shop@hearth.example", [HANAKO]),
        ("info+shop@hearth.example", [HANAKO]),
        ("Hanako@Hearth.Example", [HANAKO]),
        ("postmaster@second.example", [HANAKO]),
    ],
)
def test_who_gets_it(address: str, users: list[str]) -> None:
    token = lab.submit_at_peer(lab.message(ALICE, address))
    for user in users:
        lab.wait_for_mail(user, token)
    others = {HANAKO, TARO, HANA} - set(users)
    assert {user: lab.count(user, token) for user in others} == dict.fromkeys(others, 0)


def test_twice_addressed_arrives_once() -> None:
    # hanako is in the alias too: one copy is enough. (A plus-address is an address of its own, and gets its own.)
    mail = lab.message(ALICE, HANAKO, "sales@hearth.example")
    token = lab.submit_at_peer(mail)
    lab.wait_for_mail(TARO, token)
    lab.wait_for_mail(HANAKO, token)


def test_folders_are_there_by_their_meaning() -> None:
    with lab.inbox(TARO) as session:
        special = {flag for flags, _, _ in session.list_folders() for flag in flags}
    assert {b"\\Drafts", b"\\Sent", b"\\Archive", b"\\Junk", b"\\Trash"} <= special


def test_login_does_not_care_about_capitals() -> None:
    lab.imap("hearth-pc", "Hanako@Hearth.Example", password="hanako-secret").logout()


@pytest.fixture
def taros_sieve() -> Iterator[Sieve]:
    """Be logged in as taro; his script is gone afterwards."""
    sieve = Sieve("hearth-pc", TARO)
    yield sieve
    sieve.command('SETACTIVE ""')
    sieve.command('DELETESCRIPT "test"')


def test_a_filter_sorts_mail(taros_sieve: Sieve) -> None:
    taros_sieve.put(
        "test",
        'require ["fileinto", "mailbox"];\n'
        'if header :contains "subject" "for the shelf" { fileinto :create "Shelf"; }\n',
    )
    token = lab.submit_at_peer(lab.message(ALICE, TARO, subject="One for the shelf"))
    lab.wait_for(lambda: lab.count(TARO, token), 30, "the message that the filter sorts")
    lab.wait_for_mail(TARO, token, folder="Shelf")


def test_what_a_filter_forwards_is_believed(taros_sieve: Sieve) -> None:
    taros_sieve.put("test", 'require ["copy"];\nredirect :copy "bob@peer.example";\n')
    token = lab.submit_at_peer(lab.message(ALICE, TARO))
    lab.wait_for_mail(TARO, token)
    got = lab.wait_for_mail(lab.BOB, token)
    assert got["Received-SPF"].startswith("pass"), got["Received-SPF"]
