"""The lab from the inside: sockets opened from its machines, mail sent and counted, names asked, playbooks run.

The lab's networks have no way to or from the machine that runs it. So a test enters a container's network namespace
(`with node("hearth-pc"):`), and what it opens there really comes from that machine; what is open stays so afterwards.
`tools/demo.py` and `tools/bench.py` use the same functions.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.client
import imaplib
import json
import os
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.resolver
from imapclient import IMAPClient

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build"
RELEASE = os.environ.get("HEARTH_RELEASE", "trixie")

# Addresses of the lab, as inventories/lab/hosts.yml gives them.
HOME_LAN, HOME_LAN6 = "192.168.77.10", "2001:db8:77::10"
ROUTER_LAN = "192.168.77.254"
PROVIDER = "198.51.100.60"
# What opens its API, and its zones for RFC 2136 (inventories/lab: lab_dns_servers).
PROVIDER_KEY = "lab-api-key"
TSIG = {
    "key_name": "hearth-lab",
    "key_secret": "aGVhcnRobWFpbC1sYWItdHNpZy1zZWNyZXQtMDAwMDE=",
    "key_algorithm": "hmac-sha256",
}
RESOLVER = "198.51.100.53"
PEER = "198.51.100.80"
# The line as it is when the lab starts.
FIRST_WAN, FIRST_PREFIX = "198.51.100.10", "2001:db8:77::/64"

MAIL_NAME = "mail.hearth.example"
PEER_NAME = "mx.peer.example"
DOMAINS = ("hearth.example", "second.example")

HANAKO = "hanako@hearth.example"
TARO = "taro@hearth.example"
SMALL = "small@hearth.example"
HANA = "hana@second.example"
ALICE = "alice@peer.example"
BOB = "bob@peer.example"

TIMEOUT = 20  # seconds; for one answer of a server, generous on a slow machine

Value = TypeVar("Value")


class LabError(AssertionError):
    """Something in the lab is not as a test needs it; the text says what was seen."""


# --- Machines ------------------------------------------------------------------------------------------------------


# What a command finds in a container, as by `podman exec`.
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = (f"PATH={PATHS}", "HOME=/root", "TERM=xterm", "container=podman")
# What `podman exec` ends with when the container does not run.
NOT_RUNNING = 125


def entering(name: str) -> list[str]:
    """Give the beginning of a command that runs in a container, as root.

    By its namespaces: `podman exec` takes a quarter of a second for each command (podman 4.3), and tests run thousands.
    The command stays in this machine's control groups.

    :raises LabError: the container does not run.
    """
    namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
    return ["nsenter", f"--target={pid_of(name)}", *namespaces, "env", "-i", *ENVIRONMENT]


def run(name: str, *command: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a container; its output is captured.

    :raises LabError: it ended with an error, or could not begin, and `check` is set.
    """
    try:
        enter = entering(name)
    except LabError as error:
        if check:
            raise
        return subprocess.CompletedProcess([name, *command], NOT_RUNNING, "", str(error))
    done = subprocess.run(
        [*enter, *command],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if check and done.returncode != 0:
        raise LabError(f"{name}: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def out(name: str, *command: str) -> str:
    """Run a command in a container and give what it printed, without the last line's end."""
    return run(name, *command).stdout.rstrip("\n")


# The first process of each container, and when it began.
_firsts: dict[str, tuple[int, str]] = {}


def _begun(pid: int) -> str:
    """Give when a process began, in the kernel's ticks (proc(5)); nothing where there is none.

    A number alone is not enough: when its process has ended another one gets it, and a command that is meant for a
    container would run on this machine.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pid_of(name: str) -> int:
    """Find the first process of a container.

    :raises LabError: it does not run.
    """
    pid, begun = _firsts.get(name, (0, ""))
    if not pid or not begun or _begun(pid) != begun:
        done = _podman("inspect", "--format", "{{.State.Pid}}", name)
        pid = int(done.stdout.strip() or 0) if done.returncode == 0 else 0
        if not pid:
            raise LabError(f"{name} does not run. Start the lab with `make lab`, deploy the box with `make deploy`.")
        _firsts[name] = (pid, _begun(pid))
    return pid


def _podman(*words: str) -> subprocess.CompletedProcess[str]:
    # With the settings that the lab's containers were started with.
    environment = {**os.environ, "CONTAINERS_CONF": str(BUILD / "lab/containers.conf")}
    return subprocess.run(["podman", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def restart(name: str) -> None:
    """Start a machine again, as after a power cut (its processes get ten seconds to end)."""
    done = _podman("restart", "--time", "10", name)
    if done.returncode != 0:
        raise LabError(f"podman restart {name}: {done.stderr}")
    forget()
    # Ansible keeps connections open; those to the old box lead nowhere.
    for path in (BUILD / "lab/ssh/control").glob("*"):
        path.unlink()


def kill(name: str) -> None:
    """End a machine at once, as when its power fails."""
    done = _podman("kill", "--signal", "KILL", name)
    if done.returncode != 0:
        raise LabError(f"podman kill {name}: {done.stderr}")
    forget()


def start(name: str) -> None:
    """Start a machine that was ended."""
    done = _podman("start", name)
    if done.returncode != 0:
        raise LabError(f"podman start {name}: {done.stderr}")
    forget()


def forget() -> None:
    """Forget the processes of the machines: a container is another one, or was started again."""
    _firsts.clear()


def _set_network(descriptor: int) -> None:
    """Move this thread into another network namespace."""
    if sys.version_info >= (3, 12):
        os.setns(descriptor, os.CLONE_NEWNET)
    else:
        raise LabError("The flow tests need Python 3.12 or newer on the controller (os.setns).")


@contextlib.contextmanager
def node(name: str) -> Iterator[None]:
    """Be on a machine's network inside the `with`. It holds for this thread alone: each thread enters by itself."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/proc/{pid_of(name)}/ns/net", os.O_RDONLY)
        try:
            _set_network(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _set_network(back)
    finally:
        os.close(back)


def path_of(name: str, path: str) -> Path:
    """Give the way to a file of a container, as this machine sees it."""
    return Path(f"/proc/{pid_of(name)}/root{path}")


def wait_for(condition: Callable[[], Value | None], timeout: float, what: str) -> Value:
    """Ask until the answer is true, and give it.

    :param timeout: in seconds.
    :param what: named when it does not come true in time.
    """
    start = time.monotonic()
    while True:
        answer = condition()
        if answer:
            return answer
        waited = time.monotonic() - start
        if waited > timeout:
            raise LabError(f"After {timeout:.0f} s still not: {what} (the last answer was {answer!r})")
        # The only pause of the tests: between two looks, which start programs and would keep a processor busy.
        time.sleep(min(0.5, max(0.1, waited / 20)))


@contextlib.contextmanager
def without_dovecot() -> Iterator[None]:
    """Stop Dovecot; afterwards it serves again.

    And the probe, which would find it away within the minute, and start all that belongs to it anew.
    """
    run("hearth-home", "systemctl", "stop", "hearth-probe.timer", "hearth-probe.service")
    try:
        # Whatever of it there is: not every release has its socket.
        run("hearth-home", "systemctl", "stop", "dovecot.s*")
        yield
    finally:
        run("hearth-home", "systemctl", "start", "dovecot.service", "hearth-probe.timer")
    wait_for(lambda: opens("hearth-pc", HOME_LAN, 993), 60, "Dovecot serving again")


def wan_address() -> str:
    """Give the address which the home's line has at present."""
    line = out("hearth-router", "ip", "-4", "-o", "addr", "show", "dev", "wan", "scope", "global")
    return line.split()[3].partition("/")[0]


def hold_address(new: str | None) -> float:
    """Give the box itself a public address, as on a line without a router, in the place of one it was given so before.

    Only the way to the world's root server leads out from it, by which a program asks what its own address is: what
    the box really sends goes its usual way.

    :param new: None: take it away again.
    :returns: when, in seconds since 1970.
    """
    with node("hearth-home"):

        def ip(*words: str, stdin: str | None = None) -> str:
            done = subprocess.run(["ip", *words], input=stdin, capture_output=True, text=True)
            if done.returncode != 0:
                raise LabError(f"ip {' '.join(words)} at hearth-home: {done.stderr}")
            return done.stdout

        listed = ip("-4", "-o", "addr", "show", "dev", "lan").splitlines()
        there = [word for line in listed for word in line.split() if word.endswith("/32")]
        lines = [f"addr del {old} dev lan" for old in there if old != f"{new}/32"]
        if new:
            way = f"route replace 198.41.0.4/32 via {ROUTER_LAN} dev lan src {new}"
            lines = [f"addr replace {new}/32 dev lan", way, *lines]
        start = time.time()
        ip("-batch", "-", stdin="\n".join(lines) + "\n")
    return start


def home_ipv6() -> str:
    """Give the box's global IPv6 address of present."""
    lines = out("hearth-home", "ip", "-6", "-o", "addr", "show", "dev", "lan", "scope", "global").splitlines()
    good = [line.split()[3].partition("/")[0] for line in lines if "deprecated" not in line]
    if not good:
        raise LabError("hearth-home has no global IPv6 address")
    return good[0]


@contextlib.contextmanager
def world_without_ipv6() -> Iterator[None]:
    """Let the router refuse mail from the world over IPv6, so that it has to come by the line's IPv4 address."""
    empty = "add table inet flow_test; delete table inet flow_test;"
    rule = 'iifname "wan" meta nfproto ipv6 tcp dport 25 reject with tcp reset'
    chain = f"chain forward {{ type filter hook forward priority -10; {rule}; }}"
    run("hearth-router", "nft", f"{empty} table inet flow_test {{ {chain}; }}")
    try:
        yield
    finally:
        run("hearth-router", "nft", empty)


@contextlib.contextmanager
def impatient_peer() -> Iterator[None]:
    """Let the foreign server give up a session in which nothing is said after 20 s, not 90: the line will go away.

    Exim reads its configuration anew for each delivery, so that its daemon need not be restarted.
    """
    settings = path_of("hearth-peer", "/etc/exim4/conf.d/transport/30_exim4-config_remote_smtp-lab")
    # An earlier run may have been killed in here.
    patient = settings.read_text().replace("_timeout = 20s\n", "_timeout = 90s\n")
    impatient = patient.replace("_timeout = 90s\n", "_timeout = 20s\n")
    if impatient == patient:
        raise LabError(f"{settings} has no time-out of 90 s")
    try:
        settings.write_text(impatient)
        run("hearth-peer", "update-exim4.conf")
        yield
    finally:
        settings.write_text(patient)
        run("hearth-peer", "update-exim4.conf")


# --- Names ---------------------------------------------------------------------------------------------------------


def name_servers(machine: str) -> list[str]:
    """List whom a machine asks for names."""
    lines = path_of(machine, "/etc/resolv.conf").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]


def resolve(machine: str, name: str, kind: str = "A") -> list[str]:
    """Look a name up as a machine of the lab does; an empty list where there is no such record."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = list(name_servers(machine))
    resolver.timeout, resolver.lifetime = 3, 10
    with node(machine):
        try:
            answer = resolver.resolve(name, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
    return sorted(record.to_text() for record in answer)


def ask(machine: str, server: str, name: str, kind: str, *, dnssec: bool = False) -> dns.message.Message:
    """Ask one name server directly, without a cache between."""
    query = dns.message.make_query(name, kind, want_dnssec=dnssec)
    with node(machine):
        return dns.query.udp_with_fallback(query, server, timeout=5)[0]


def published(name: str, kind: str = "A") -> list[str]:
    """Ask the provider's authoritative server, which is what the world sees as soon as caches end."""
    answer = ask("hearth-roamer", PROVIDER, name, kind)
    return sorted(
        record.to_text() for found in answer.answer if found.rdtype == dns.rdatatype.from_text(kind) for record in found
    )


def world_forgets(*zones: str) -> None:
    """Empty the world's caches: where a test is about the change, not about how long others may remember."""
    for zone in zones:
        run("hearth-dns", "unbound-control", "flush_zone", zone)


def provider_zone(zone: str) -> list[str]:
    """List a zone at the provider, without signatures and the serial number, which change by themselves."""
    lines = out("hearth-provider", "pdnsutil", "list-zone", zone).splitlines()
    fields = [line.split("\t") for line in lines if line and not line.startswith("$")]
    return sorted("\t".join(field) for field in fields if "SOA" not in field)


def provider_api(method: str, path: str, body: Any = None) -> Any:
    """Ask the API of the provider's PowerDNS, on the straight way."""
    content = None if body is None else json.dumps(body)
    with node("hearth-roamer"), contextlib.closing(http.client.HTTPConnection(PROVIDER, 8081, timeout=TIMEOUT)) as api:
        api.request(method, f"/api/v1/servers/localhost{path}", content, {"X-API-Key": PROVIDER_KEY})
        answer = api.getresponse()
        text = answer.read().decode()
    if answer.status >= 300:
        raise LabError(f"The provider answers {method} {path} with {answer.status}: {text}")
    return json.loads(text) if text else None


@contextlib.contextmanager
def zone_at_provider(zone: str, text: str) -> Iterator[None]:
    """Have a zone at the provider for a while, signed as all are, and open for the holder of the lab's TSIG key.

    :param text: its records, as a zone file.
    """

    def remove() -> None:
        if f"{zone}." in {there["name"] for there in provider_api("GET", "/zones")}:
            provider_api("DELETE", f"/zones/{zone}.")

    remove()
    key = TSIG["key_name"]
    what = {"name": f"{zone}.", "kind": "Native", "dnssec": True, "zone": text, "master_tsig_key_ids": [f"{key}."]}
    provider_api("POST", "/zones", what)
    for kind, values in (("TSIG-ALLOW-DNSUPDATE", [key]), ("ALLOW-DNSUPDATE-FROM", ["0.0.0.0/0", "::/0"])):
        provider_api("PUT", f"/zones/{zone}./metadata/{kind}", {"kind": kind, "metadata": values})
    try:
        yield
    finally:
        remove()


def _provider_requests(*verbs: str) -> int:
    log = out("hearth-provider", "journalctl", "-u", "pdns", "-o", "cat", "--no-pager")
    return sum(any(f'"{verb} ' in line for verb in verbs) for line in log.splitlines())


def provider_writes() -> int:
    """Count the requests which have changed something at the provider, by its own log."""
    return _provider_requests("POST", "PUT", "PATCH", "DELETE")


def provider_reads() -> int:
    """Count the requests which have read something at the provider, by its own log."""
    return _provider_requests("GET")


# --- Connections ---------------------------------------------------------------------------------------------------


def tls() -> ssl.SSLContext:
    """Make a client's TLS settings. The box's certificate is its own work for now, so no names are checked."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def address_of(machine: str, name: str) -> str:
    """Turn a name into an address as that machine does; an address stays as it is."""
    if ":" in name or name.replace(".", "").isdigit():
        return name
    found = resolve(machine, name, "A")
    if not found:
        raise LabError(f"{machine} finds no address of {name} (asked {', '.join(name_servers(machine))})")
    return found[0]


def connect(machine: str, host: str, port: int, timeout: float = TIMEOUT) -> socket.socket:
    """Open a TCP connection from a machine of the lab."""
    address = address_of(machine, host)
    with node(machine):
        return socket.create_connection((address, port), timeout)


def opens(machine: str, host: str, port: int) -> bool:
    """Tell whether a TCP port can be reached from a machine."""
    try:
        connect(machine, host, port, timeout=3).close()
    except OSError:
        return False
    return True


def _assert_modern(sock: Any) -> None:
    assert isinstance(sock, ssl.SSLSocket), "the connection is in clear"
    assert sock.version() in ("TLSv1.2", "TLSv1.3"), f"the server speaks {sock.version()}"


def smtp(
    machine: str,
    host: str = MAIL_NAME,
    port: int = 25,
    user: str | None = None,
    password: str | None = None,
    *,
    secure: bool | None = None,
    greet: bool = True,
) -> smtplib.SMTP:
    """Open an SMTP session from a machine.

    :param user: log in as this one; the password is the lab's (`<name>-secret`) if none is given.
    :param secure: STARTTLS; by default on 587 and wherever there is a login. On 465 TLS comes first anyway.
    :param greet: say EHLO.
    """
    address = address_of(machine, host)
    helo = f"{machine}.example"
    session: smtplib.SMTP
    with node(machine):
        if port == 465:
            session = smtplib.SMTP_SSL(address, port, local_hostname=helo, timeout=TIMEOUT, context=tls())
        else:
            session = smtplib.SMTP(address, port, local_hostname=helo, timeout=TIMEOUT)
    if secure if secure is not None else (port == 587 or user is not None) and port != 465:
        session.ehlo()
        session.starttls(context=tls())
    if port == 465 or isinstance(session.sock, ssl.SSLSocket):
        _assert_modern(session.sock)
    if greet:
        session.ehlo()
    if user:
        session.login(user, password or lab_password(user))
    return session


def lab_password(user: str) -> str:
    """Give the password of a lab's user."""
    return f"{user.partition('@')[0]}-secret"


def imap(machine: str, user: str, host: str = MAIL_NAME, password: str | None = None) -> IMAPClient:
    """Open an IMAPS session (993) from a machine and log in."""
    address = address_of(machine, host)
    with node(machine):
        session = IMAPClient(address, port=993, ssl=True, ssl_context=tls(), timeout=TIMEOUT)
    _assert_modern(session.socket())
    session.login(user, password or lab_password(user))
    return session


def pop3(machine: str, user: str, host: str = MAIL_NAME) -> poplib.POP3_SSL:
    """Open a POP3S session (995) from a machine and log in."""
    address = address_of(machine, host)
    with node(machine):
        session = poplib.POP3_SSL(address, 995, context=tls(), timeout=TIMEOUT)
    _assert_modern(session.sock)
    session.user(user)
    session.pass_(lab_password(user))
    return session


@contextlib.contextmanager
def inbox(user: str, machine: str | None = None, folder: str = "INBOX", readonly: bool = True) -> Iterator[IMAPClient]:
    """Open a mailbox: the home's from the computer in the home, a foreign one from the world."""
    foreign = user.endswith("@peer.example")
    session = imap(machine or ("hearth-roamer" if foreign else "hearth-pc"), user, PEER_NAME if foreign else MAIL_NAME)
    try:
        session.select_folder(folder, readonly=readonly)
        yield session
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            session.logout()


# --- Mail ----------------------------------------------------------------------------------------------------------


def new_token() -> str:
    """Make a word that no other message has."""
    return f"t{uuid.uuid4().hex}"


def message(sender: str, *recipients: str, subject: str = "A flow test", body: str = "Hello.\n") -> EmailMessage:
    """Write a message; its Message-ID holds a word of its own, by which it is found and counted (`token_of`)."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = subject
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = f"<{new_token()}@{sender.rpartition('@')[2].strip('>')}>"
    mail.set_content(body)
    return mail


def token_of(mail: EmailMessage) -> str:
    """Give the word by which a message is found."""
    return str(mail["Message-ID"]).partition("@")[0].lstrip("<")


# (mailbox, token) of every message which arrived: `test_exactly_once.py` counts them once more at the end.
arrived: set[tuple[str, str]] = set()
# (mailbox, token) of messages that must never arrive, however late: counted there too.
never: set[tuple[str, str]] = set()


def found(session: IMAPClient, token: str) -> list[int]:
    """Find the messages (UIDs) with a token in the folder that is open."""
    session.noop()
    return list(session.search(["HEADER", "Message-ID", token]))


def folder_names(session: IMAPClient) -> list[str]:
    """Name the folders which can hold mail: one that only others lie in cannot."""
    listed = session.list_folders()
    return [name for flags, _, name in listed if not {b"\\Noselect", b"\\NonExistent"} & set(flags)]


def count(user: str, token: str) -> int:
    """Count the messages with a token in all folders of a mailbox."""
    with inbox(user) as session:
        total = 0
        for folder in folder_names(session):
            session.select_folder(folder, readonly=True)
            total += len(found(session, token))
    return total


def wait_for_mail(user: str, token: str, timeout: float = 30, folder: str = "INBOX") -> EmailMessage:
    """Wait until a message is in a mailbox, and give it; twice in it is an error."""
    with inbox(user, folder=folder) as session:
        uids = wait_for(lambda: found(session, token), timeout, f"message {token} in {folder} of {user}")
        assert len(uids) == 1, f"message {token} is {len(uids)} times in {folder} of {user}"
        raw = session.fetch(uids, ["BODY.PEEK[]"])[uids[0]][b"BODY[]"]
    arrived.add((user, token))
    return email.message_from_bytes(raw, policy=email.policy.default)


def wait_for_flags(user: str, token: str, flags: set[bytes], machine: str) -> None:
    """Wait until a message has exactly these flags, as a machine sees it."""
    with inbox(user, machine) as session:

        def same() -> bool:
            uids = found(session, token)
            seen = set(session.get_flags(uids)[uids[0]]) - {b"\\Recent"} if uids else set()
            return seen == flags

        wait_for(same, 10, f"flags {flags} of message {token}, seen from {machine}")


def submit(
    mail: EmailMessage, machine: str = "hearth-pc", user: str | None = None, port: int = 465, **more: Any
) -> str:
    """Submit a message at the home as a mail program does; gives its token."""
    sender = str(mail["From"])
    sender = sender.partition("<")[2].rstrip(">") or sender
    with smtp(machine, port=port, user=user or sender) as session:
        refused = session.send_message(mail, from_addr=sender, **more)
    assert not refused, refused
    return token_of(mail)


def submit_at_peer(mail: EmailMessage, **more: Any) -> str:
    """Submit a message at the foreign server as its own user, who logs in from the world; gives its token."""
    sender = str(mail["From"])
    with smtp("hearth-roamer", PEER_NAME, 587, user=sender.partition("@")[0]) as session:
        refused = session.send_message(mail, **more)
    assert not refused, refused
    return token_of(mail)


def log_of_peer(token: str) -> str:
    """Give what the foreign Exim has written about a message that its user submitted; empty before it has."""
    lines = out("hearth-peer", "cat", "/var/log/exim4/mainlog").splitlines()
    ids = [line.split()[2] for line in lines if f"id={token}@" in line]
    return "\n".join(line for line in lines if any(one in line for one in ids))


def queue(name: str = "hearth-home") -> list[dict[str, Any]]:
    """List what waits in the queue of Postfix: an entry for each message."""
    return [json.loads(line) for line in out(name, "postqueue", "-j").splitlines()]


def wait_until_delivered(timeout: float) -> None:
    """Wait until nothing is left in the home box's queue.

    :raises LabError: with what waits, and why.
    """
    try:
        wait_for(lambda: not queue(), timeout, "the box's queue being empty")
    except LabError as error:
        raise LabError(f"{error}: {queue()}") from error


def maildir(user: str) -> str:
    """Give the path of a mailbox on the home box."""
    local, _, domain = user.partition("@")
    return f"/var/vmail/{domain}/{local}/Maildir"


def files_with(user: str, token: str) -> list[str]:
    """Find the files of a mailbox which hold a message."""
    done = run("hearth-home", "grep", "-rlF", "--include=*", token, maildir(user), check=False)
    return [line for line in done.stdout.splitlines() if "/new/" in line or "/cur/" in line]


# --- Ansible -------------------------------------------------------------------------------------------------------


# Their long commands go on when the line breaks (hearth_progress): not by Mitogen.
PLAIN = ("backup", "restore", "rebuild")
# What the scenarios set for Mitogen's strategy, and no user does (.config/molecule/config.yml).
MITOGEN_SETTINGS = ("ANSIBLE_STRATEGY", "ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_DEPRECATION_WARNINGS")


def playbook(
    path: str,
    *options: str,
    extra: dict[str, Any] | None = None,
    check: bool = True,
    callback: str = "default",
    plain: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run one of the project's playbooks on the lab, as it would be typed.

    :param extra: variables that stand above those of the inventory.
    :param plain: by Ansible's own strategy, as a user's; it takes twice as long.
    :param callback: what writes the run's output.
    :raises LabError: it failed, and `check` is set.
    """
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", path, *options]
    if extra:
        command += ["--extra-vars", json.dumps(extra)]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": callback,
        "HEARTH_RELEASE": RELEASE,
    }
    if plain or Path(path).stem in PLAIN:
        for name in MITOGEN_SETTINGS:
            environment.pop(name, None)
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if check and done.returncode != 0:
        raise LabError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
        )
    return done


def recap(done: subprocess.CompletedProcess[str], host: str = "hearth-home") -> dict[str, int]:
    """Read the counts of a run's last lines for one host: ok, changed, failed, ..."""
    for line in done.stdout.splitlines():
        if line.replace(" ", "").startswith(f"{host}:ok="):
            return {
                key: int(value) for key, _, value in (word.partition("=") for word in line.split(":", 1)[1].split())
            }
    raise LabError(f"The run says nothing about {host}:\n{done.stdout[-3000:]}")


def move(**where: str) -> None:
    """Give the line another address: wan_address="198.51.100.23", lan_prefix="2001:db8:78::/64"."""
    playbook("molecule/shared/move.yml", extra=dict(where))


def port25(state: str) -> None:
    """Block port 25 outwards at the router, or open it: blocked, open."""
    playbook("molecule/shared/port25.yml", extra={"port25": state})


def restore_line() -> None:
    """Put the line back to where it was when the lab started, as far as it is not there, and its DNS."""
    blocked = out("hearth-router", "nft", "list", "set", "inet", "router", "blocked_ports")
    if "elements" in blocked:
        port25("open")
    where = {}
    if wan_address() != FIRST_WAN:
        where["wan_address"] = FIRST_WAN
    if not home_ipv6().startswith(FIRST_PREFIX.removesuffix(":/64")):
        where["lan_prefix"] = FIRST_PREFIX
    if where:
        move(**where)
        start = FIRST_PREFIX.removesuffix(":/64")
        wait_for(lambda: home_ipv6().startswith(start), 60, f"the box having an address of {FIRST_PREFIX}")
        settle_dns()


def settle_dns() -> None:
    """Have the box publish its present addresses, both: to a box that comes next an older one would be a stranger's."""

    def settled() -> bool:
        run("hearth-home", "hearth-ddns", "apply", check=False)
        return published(MAIL_NAME) == [wan_address()] and published(MAIL_NAME, "AAAA") == [home_ipv6()]

    wait_for(settled, 180, f"the addresses of {MAIL_NAME} being those of the line")
