"""Comparing with the authoritative servers."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import pytest

from hearthmail.ddns.authoritative import astray, differences, observe, wait_until_right
from hearthmail.ddns.records import Key, RRset

from .conftest import ZONE

A = Key(ZONE, "mail", "A")
MX = Key(ZONE, "", "MX")
TXT = Key(ZONE, "", "TXT")


def rrset(key: Key, *values: str, ttl: int = 60) -> RRset:
    return RRset(key, ttl, frozenset(values))


def seen(want: RRset, *answers: RRset | None) -> list[str]:
    servers = {f"192.0.2.{number}": answer for number, answer in enumerate(answers)}
    view = observe(servers, [want.key], lambda server, _key: servers[server])
    return differences(view, [want], {}, exact_ttl=True)


def test_all_servers_must_be_right() -> None:
    want = rrset(A, "198.51.100.10")
    assert seen(want, want, want) == []
    assert len(seen(want, want, rrset(A, "198.51.100.9"))) == 1
    assert "nothing" in seen(want, rrset(A))[0]
    assert seen(want, rrset(A, "198.51.100.10", ttl=300))


def test_what_may_stand_beside_ours() -> None:
    assert seen(rrset(TXT, "v=spf1 -all"), rrset(TXT, "v=spf1 -all", "verify", ttl=900)) == []
    assert seen(rrset(MX, "10 a."), rrset(MX, "10 a.", "20 b.", ttl=900)) == []
    assert seen(rrset(A, "198.51.100.10"), rrset(A, "198.51.100.10", "198.51.100.11"))


def test_an_answer_that_is_not_authoritative_does_not_count() -> None:
    assert seen(rrset(A, "198.51.100.10"), None) == []


def test_a_silent_server_is_asked_once() -> None:
    asked = []

    def question(server: str, key: Key) -> RRset:
        asked.append((server, key))
        if server == "192.0.2.1":
            raise TimeoutError
        return rrset(key, "x")

    view = observe(["192.0.2.1", "192.0.2.2"], [A, MX], question)
    assert view.silent == {"192.0.2.1"}
    assert asked == [("192.0.2.1", A), ("192.0.2.2", A), ("192.0.2.2", MX)]


def test_our_old_values_must_be_gone() -> None:
    view = observe(["192.0.2.1"], [A], lambda _server, key: rrset(key, "198.51.100.9"))
    assert differences(view, [], {A: frozenset({"198.51.100.9"})})
    assert differences(view, [], {A: frozenset({"198.51.100.8"})}) == []


@pytest.mark.parametrize("rounds", [0, 2])
def test_waiting_ends_when_all_is_right(rounds: int) -> None:
    answers = [rrset(A, "198.51.100.9")] * rounds + [rrset(A, "198.51.100.10")]
    wrong, _ = wait_until_right(
        ["192.0.2.1"], [rrset(A, "198.51.100.10")], {}, limit=5, question=lambda _server, _key: answers.pop(0)
    )
    assert wrong == []
    assert answers == []


def test_waiting_is_bounded() -> None:
    def silent(_server: str, _key: Key) -> RRset:
        raise TimeoutError

    wrong, _ = wait_until_right(["192.0.2.1"], [rrset(A, "198.51.100.10")], {}, limit=0.2, question=silent)
    assert wrong == ["no name server answers"]


@pytest.fixture
def cut_short() -> Iterator[int]:
    """A name server's port: its answers do not fit into UDP, and by TCP it closes the connection without one."""
    with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        port = int(stream.getsockname()[1])
        datagram.bind(("127.0.0.1", port))

        def truncated() -> None:
            data, sender = datagram.recvfrom(4096)
            answer = dns.message.make_response(dns.message.from_wire(data))
            answer.flags |= dns.flags.AA | dns.flags.TC
            datagram.sendto(answer.to_wire(), sender)

        def closed() -> None:
            connection, _ = stream.accept()
            with connection:
                # Read first: to close with something unread would be a reset, which is another error.
                connection.recv(4096)

        for work in (truncated, closed):
            threading.Thread(target=work, daemon=True).start()
        yield port


def test_a_truncated_answer_without_the_rest_is_none(cut_short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = functools.partial(dns.query.udp_with_fallback, port=cut_short)
    monkeypatch.setattr(dns.query, "udp_with_fallback", asked)
    view = observe(["127.0.0.1"], [A, MX])
    assert (view.silent, view.answers) == ({"127.0.0.1"}, {})


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("203.0.113.9", "203.0.113.9"), True),
        (("203.0.113.9", ""), True),
        (("203.0.113.9", "198.51.100.10"), False),
        # A server that is silent, or lame, may know better.
        (("203.0.113.9", "silent"), None),
        (("203.0.113.9", "lame"), None),
        (("silent", "silent"), None),
    ],
)
def test_whether_all_servers_answer_otherwise(answers: tuple[str, str], expected: bool | None) -> None:
    key = Key("hearth.example", "mail", "A")

    def question(server: str, _key: Key) -> RRset | None:
        answer = answers[int(server)]
        if answer == "silent":
            raise OSError
        return None if answer == "lame" else RRset(key, 60, frozenset(filter(None, [answer])))

    view = observe(["0", "1"], [key], question)
    assert astray(view, [RRset(key, 60, frozenset({"198.51.100.10"}))]).get(key) is expected
