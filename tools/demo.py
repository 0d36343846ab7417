"""`make demo`, its last step: sends mail through the lab in every direction, and prints a table.

Exit code 1 if anything did not work. The lab runs and the home box is deployed (`make lab`, `make deploy`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dns.flags

from tests.drill import faults
from tests.flow import lab
from tests.flow.lab import ALICE, HANA, HANAKO, MAIL_NAME, TARO

WIDTH = 66
HOME = "hearth-home"


def expect(condition: object, what: str) -> None:
    """Stop a flow that has not gone as it must."""
    if not condition:
        raise lab.LabError(what)


def from_the_world() -> str:
    """Deliver from the foreign server, and read at home."""
    mail = lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)))
    hop = next(line for line in mail.get_all("Received", []) if f"by {MAIL_NAME} (Postfix)" in " ".join(line.split()))
    expect("ESMTPS" in hop, f"it came in clear: {hop}")
    return "by MX, encrypted"


def on_every_computer() -> str:
    """Read one message from two computers, and mark it on one."""
    token = lab.submit_at_peer(lab.message(ALICE, HANAKO))
    lab.wait_for_mail(HANAKO, token)
    with lab.inbox(HANAKO, "hearth-roamer", readonly=False) as session:
        session.add_flags(lab.found(session, token), [b"\\Seen", b"\\Flagged"])
    lab.wait_for_flags(HANAKO, token, {b"\\Seen", b"\\Flagged"}, "hearth-pc")
    session = lab.pop3("hearth-roamer", HANAKO)
    session.retr(len(session.list()[1]))
    session.quit()
    lab.wait_for_flags(HANAKO, token, {b"\\Seen", b"\\Flagged"}, "hearth-pc")
    return "same flags; POP3 leaves it"


def to_the_world(machine: str, port: int) -> str:
    """Submit with a login; the foreign server has to believe it."""
    mail = lab.wait_for_mail(ALICE, lab.submit(lab.message(HANAKO, ALICE), machine, port=port))
    expect(mail["Received-SPF"].startswith("pass"), f"SPF: {mail['Received-SPF']}")
    return "by MX, SPF pass"


def inside() -> str:
    """Send from user to user."""
    lab.wait_for_mail(TARO, lab.submit(lab.message(HANAKO, TARO)))
    return "delivered"


def by_alias() -> str:
    """Send to an alias of two, and to a plus-address."""
    token = lab.submit_at_peer(lab.message(ALICE, "sales@hearth.example"))
    lab.wait_for_mail(HANAKO, token)
    lab.wait_for_mail(TARO, token)
    lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, "hanako+shop@hearth.example")))
    return "each got it once"


def second_domain() -> str:
    """Send to a user of the other domain, who answers."""
    lab.wait_for_mail(HANA, lab.submit_at_peer(lab.message(ALICE, HANA)))
    lab.wait_for_mail(ALICE, lab.submit(lab.message(HANA, ALICE)))
    return "there and back"


def attachment() -> str:
    """Send 20 MB."""
    content = os.urandom(20 * 1024 * 1024)
    mail = lab.message(HANAKO, ALICE, subject="20 MB")
    mail.add_attachment(content, maintype="application", subtype="octet-stream", filename="20 MB.bin")
    got = lab.wait_for_mail(ALICE, lab.submit(mail), timeout=60)
    (part,) = [part for part in got.walk() if part.get_filename()]
    expect(part.get_payload(decode=True) == content, "it arrived changed")
    return "arrived unchanged"


def refusals() -> str:
    """Try what must not work."""
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE)
        code = session.rcpt("nobody@hearth.example")[0]
        expect(code == 550, f"unknown recipient: {code}")
        code = session.rcpt(lab.BOB)[0]
        expect(500 <= code < 600, f"relay for strangers: {code}")
        session.rset()
    with lab.smtp("hearth-pc", port=465, user=TARO) as session:
        session.mail(HANAKO)
        code = session.rcpt(ALICE)[0]
        expect(500 <= code < 600, f"taro as hanako: {code}")
        session.rset()
    with lab.smtp("hearth-roamer", port=587, secure=False) as session:
        expect(not session.has_extn("auth"), "a login in clear is offered")
    return "refused, each by its code"


def names() -> str:
    """Look the box up from both sides of the router."""
    expect(lab.resolve("hearth-pc", MAIL_NAME) == [lab.HOME_LAN], "the home does not find the box at home")
    expect(lab.resolve("hearth-roamer", MAIL_NAME) == [lab.wan_address()], "the world does not find the box")
    answer = lab.ask("hearth-pc", lab.HOME_LAN, "hearth.example", "MX", dnssec=True)
    expect(answer.flags & dns.flags.AD, "the resolver proves nothing")
    return "right on both sides, DNSSEC valid"


def by_relay() -> str:
    """Let the ISP close port 25: mail leaves through its server, and the SPF record says so."""
    deploy = ("playbooks/site.yml", "--tags", "postfix,ddns")
    lab.port25("blocked")
    try:
        lab.playbook(*deploy, extra={"mail_outbound": "relay"})
        lab.world_forgets(*lab.DOMAINS)
        mail = lab.wait_for_mail(ALICE, lab.submit(lab.message(HANAKO, ALICE)), timeout=60)
        expect("by smtp.isp.example" in " ".join(mail.get_all("Received", [])), "it did not go through the ISP")
        expect(mail["Received-SPF"].startswith("pass"), f"SPF: {mail['Received-SPF']}")
    finally:
        lab.port25("open")
        lab.playbook(*deploy)
        lab.world_forgets(*lab.DOMAINS)
    return "through the ISP, SPF pass"


def new_address() -> str:
    """Give the line another address: the DNS follows, and mail finds the way."""
    new = next(one for one in ("198.51.100.23", "198.51.100.24") if one != lab.wan_address())
    lab.move(wan_address=new)
    lab.wait_for(lambda: lab.published(MAIL_NAME) == [new], 90, f"the provider answering with {new}")
    seconds = time.time() - lab.path_of("hearth-router", "/etc/lab-wan-address").stat().st_mtime
    lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)), timeout=120)
    return f"DNS right after {seconds:.1f} s, mail arrives"


def backup() -> str:
    """Take a backup, as the box does each hour."""
    done = lab.run(HOME, "hearth-backup", "run", "--json")
    report = json.loads(done.stdout)
    return f"{report['files']} files at backup.isp.example"


def hang() -> str:
    """Stop Postfix's first process: it is there, its ports are open, and nothing happens. Nobody helps."""
    faults.stop(faults.POSTFIX)
    lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)), timeout=120)
    return "the box noticed, mail flows again"


def rebuild() -> str:
    """Lose the box with its disk while mail is on its way, and bring it back on a bare one."""
    kept = lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)))
    lab.run(HOME, "hearth-backup", "run")
    lab.kill(HOME)
    meanwhile = lab.submit_at_peer(lab.message(ALICE, HANAKO))
    lab.playbook("molecule/shared/home.yml")
    lab.forget()
    lab.playbook("playbooks/rebuild.yml")
    lab.wait_for_mail(HANAKO, meanwhile, timeout=180)
    lab.wait_for_mail(HANAKO, lab.token_of(kept))
    return "all mail is there, the new one too"


FLOWS: list[tuple[str, Callable[[], str]]] = [
    ("alice, out in the world, writes to hanako; she reads it at home", from_the_world),
    ("hanako sees it on both computers: IMAP at home and away, POP3", on_every_computer),
    ("hanako writes to alice from her computer at home (465)", lambda: to_the_world("hearth-pc", 465)),
    ("hanako writes to alice from a hotel (587)", lambda: to_the_world("hearth-roamer", 587)),
    ("hanako writes to taro, in the house", inside),
    ("alice writes to sales@ (two people) and to hanako+shop@", by_alias),
    ("alice and hana@second.example, the second domain", second_domain),
    ("hanako sends alice 20 MB", attachment),
    ("unknown recipient, open relay, false sender, clear login", refusals),
    ("the box's name, at home and in the world", names),
    ("the ISP closes port 25: hanako writes by its server (a minute)", by_relay),
    ("the line gets another address", new_address),
    ("a backup, to another house", backup),
    ("Postfix hangs (SIGSTOP), and nobody is at home (a minute)", hang),
    ("the box dies with its disk; rebuild.yml on a bare one (2 minutes)", rebuild),
]


def main() -> int:
    """Run every flow, and print its line as soon as it is known."""
    print(f"\n{'what was tried':{WIDTH}}{'result':38}{'seconds':>7}\n{'-' * (WIDTH + 45)}", flush=True)
    failed = []
    for what, flow in FLOWS:
        print(f"{what:{WIDTH}}", end="", flush=True)
        start = time.monotonic()
        try:
            result = flow()
        except Exception as error:  # noqa: BLE001 -- whatever a flow runs into is that flow's result
            failed.append((what, error))
            result = "FAILED"
        print(f"{result:38}{time.monotonic() - start:7.1f}", flush=True)
    for what, reason in failed:
        print(f"\nFAILED: {what}\n  {type(reason).__name__}: {reason}")
    print(f"\n{len(FLOWS) - len(failed)} of {len(FLOWS)} work.\n")
    print(how_to_log_in())
    return 1 if failed else 0


def how_to_log_in() -> str:
    """Tell a person how to look for themselves."""
    return f"""\
Log in yourself; the lab's machines are closed off, so from inside one of them:
  in the house  podman exec -it hearth-pc bash        {MAIL_NAME} is {lab.HOME_LAN}
  in the world  podman exec -it hearth-roamer bash    {MAIL_NAME} is {lab.wan_address()}
  the box       podman exec -it hearth-home bash
Mail programs    IMAP {MAIL_NAME}:993, POP3 :995, submission :465 (TLS) or :587 (STARTTLS)
                 The certificate is the box's own work for now: a program asks whether to trust it.
Users            hanako@hearth.example, taro@hearth.example, hana@second.example: password <name>-secret
In the world     alice, bob at mx.peer.example (993, 465, 587): password <name>-secret
Try              curl -k -u hanako@hearth.example:hanako-secret imaps://{MAIL_NAME}/INBOX -X 'STATUS INBOX (MESSAGES)'
                 swaks --server {MAIL_NAME} --port 465 --tlsc --auth-user hanako@hearth.example \\
                   --auth-password hanako-secret --from hanako@hearth.example --to alice@peer.example
End              make demo-down"""


if __name__ == "__main__":
    sys.exit(main())
