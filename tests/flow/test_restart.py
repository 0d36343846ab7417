"""The box is switched off and on, at another address than before: everything comes back, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO, TARO

# Seconds between two messages while the box is down.
PACE = 0.5


class Before:
    """What there was when the box went down."""

    def __init__(self) -> None:
        """Fill a mailbox and the queue, then restart the box, with mail for it on its way."""
        self.read = lab.submit(lab.message(TARO, HANAKO))
        lab.wait_for_mail(HANAKO, self.read)
        with lab.inbox(HANAKO, readonly=False) as session:
            session.add_flags(lab.found(session, self.read), [b"\\Seen", b"\\Flagged"])
        lab.port25("blocked")
        self.queued = lab.submit(lab.message(HANAKO, ALICE))
        self.queue = lab.wait_for(lambda: waiting_for(ALICE, "deferred"), 30, "a message for the peer in the queue")
        self.arriving = []
        with ThreadPoolExecutor(1) as pool:
            restarting = pool.submit(lab.restart, "hearth-home")
            while not restarting.done():
                self.arriving.append(lab.submit_at_peer(lab.message(ALICE, HANAKO)))
                wait([restarting], timeout=PACE)
            restarting.result()
        # The line has changed meanwhile: back to where it began, or away from there.
        self.old = lab.wan_address()
        away = self.old == lab.FIRST_WAN
        lab.move(
            wan_address="198.51.100.31" if away else lab.FIRST_WAN,
            lan_prefix="2001:db8:7a::/64" if away else lab.FIRST_PREFIX,
        )
        lab.wait_for(lambda: lab.opens("hearth-pc", lab.HOME_LAN, 993), 60, "the box serving mail again")


def waiting_for(recipient: str, *queues: str) -> set[str]:
    """List what waits for somebody, in these queues of Postfix, by its queue ID."""
    return {
        one["queue_id"]
        for one in lab.queue()
        if one["queue_name"] in queues and any(to["address"] == recipient for to in one["recipients"])
    }


@pytest.fixture(scope="module")
def before() -> Iterator[Before]:
    """Restart the box, once for all tests here."""
    try:
        # A session that was open when the box went is never ended.
        with lab.impatient_peer():
            yield Before()
    finally:
        lab.port25("open")


def test_everything_runs_again(before: Before) -> None:
    state = lab.run("hearth-home", "systemctl", "is-system-running", "--wait", check=False).stdout.strip()
    failed = lab.out("hearth-home", "systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert (state, failed) == ("running", "")
    for unit in ("postfix", "dovecot", "unbound", "hearth-firewall", "hearth-ddns.service"):
        assert lab.out("hearth-home", "systemctl", "is-active", unit) == "active"


def test_the_firewall_is_closed_again(before: Before) -> None:
    assert "policy drop" in lab.out("hearth-home", "nft", "list", "table", "inet", "hearthmail")


def test_mailboxes_are_as_they_were(before: Before) -> None:
    lab.wait_for_flags(HANAKO, before.read, {b"\\Seen", b"\\Flagged"}, "hearth-pc")


def test_the_dns_follows(before: Before) -> None:
    here = lab.wan_address()
    assert here != before.old
    lab.wait_for(lambda: lab.published(lab.MAIL_NAME) == [here], 90, f"A of {lab.MAIL_NAME} being {here}")


def test_the_queue_is_kept_and_leaves(before: Before) -> None:
    # At its start Postfix tries everything once more.
    assert waiting_for(ALICE, "incoming", "active", "deferred") == before.queue
    lab.port25("open")
    lab.run("hearth-home", "postqueue", "-f")
    lab.wait_for_mail(ALICE, before.queued, timeout=60)


def test_what_came_meanwhile_arrives(before: Before) -> None:
    # Others remember the old address for a minute at most (TTL 60): that is not waited for.
    lab.world_forgets(*lab.DOMAINS)
    for token in before.arriving:
        lab.wait_for_mail(HANAKO, token, timeout=120)


def test_mail_flows(before: Before) -> None:
    here = lab.wan_address()
    lab.wait_for(lambda: lab.resolve("hearth-roamer", lab.MAIL_NAME) == [here], 120, "the world knowing the address")
    lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)), timeout=60)
    lab.wait_for_mail(ALICE, lab.submit(lab.message(HANAKO, ALICE), "hearth-roamer"), timeout=60)


def put_in(sender: str, recipient: str) -> str:
    """Give Postfix a message past its door, which is closed while Dovecot is not there to ask for the quota."""
    mail = lab.message(sender, recipient)
    lab.run("hearth-home", "sendmail", "-i", "-f", sender, recipient, stdin=mail.as_string())
    return lab.token_of(mail)


def test_mail_flows_as_soon_as_dovecot_is_back() -> None:
    begin = int(time.time())
    with lab.without_dovecot():
        early = put_in(ALICE, HANAKO)
        lab.wait_for(lambda: waiting_for(HANAKO, "deferred"), 60, "the message being put off")
    lab.wait_for_mail(HANAKO, put_in(ALICE, HANAKO))
    said = lab.out("hearth-home", "journalctl", "-o", "cat", "--no-pager", "-u", "postfix*", "--since", f"@{begin}")
    suspended = [line for line in said.splitlines() if HANAKO in line and "delivery temporarily suspended" in line]
    assert suspended == [], "it had to wait for the next look at the queue"
    lab.run("hearth-home", "postqueue", "-f")
    lab.wait_for_mail(HANAKO, early, timeout=60)
