"""What can happen to a home box: each fault begins, shows that it has really begun, and ends.

Some end by themselves, because the box mends them: then nothing here helps it. The others end when the world mends them
(a cable is plugged in again, somebody makes room on the disk).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imapclient.exceptions import IMAPClientError

from tests.drill import stream
from tests.flow import lab

HOME = "hearth-home"
# Debian 12's postfix.service is an empty shell around this one.
POSTFIX = {"bookworm": "postfix@-.service"}.get(lab.RELEASE, "postfix.service")
# Generous: for what takes some seconds.
SOON = 60


@dataclass(frozen=True)
class Fault:
    """One fault.

    :param name: as the table of drills has it.
    :param happen: makes it happen, and comes back when it is over. It gives the time from which on the box has to get
        well: when it began, where the box mends it; when the world had mended it, for the rest.
    :param red: the part of the box's status which goes red meanwhile, and words of its reason; empty where it is well
        again before it has looked.
    :param person: the part of the box's status for which a person gets one letter, and one when all is well again;
        empty where the box needs nobody.
    """

    name: str
    happen: Callable[[], float]
    red: tuple[str, str] = ("", "")
    person: str = ""


# --- What the box says -----------------------------------------------------------------------------------------------


def status() -> dict[str, dict[str, str]]:
    """Give what the box's last look has found: part -> level, reason. Empty while there is none."""
    try:
        text = lab.path_of(HOME, "/run/hearth-probe/status.json").read_text()
    except (OSError, lab.LabError):
        return {}
    return {one["part"]: one for one in json.loads(text)["parts"]}


def is_red(part: str, reason: str = "") -> bool:
    """Tell whether a part is red, for this reason."""
    found = status().get(part, {"level": "", "reason": ""})
    return found["level"] == "red" and reason in found["reason"]


def wait_for_red(part: str, reason: str = "", timeout: float = 180) -> None:
    """Have the box look until it has seen it."""
    look_until(lambda: is_red(part, reason), timeout, f"{part} being red ({reason}); it was {status().get(part)}")


class Watch:
    """Remembers every part that was red, with its reasons, as long as it runs."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self.seen: dict[str, set[str]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.2):
            for part, found in status().items():
                if found["level"] == "red":
                    self.seen.setdefault(part, set()).add(found["reason"])

    def saw(self, part: str, words: str) -> bool:
        """Tell whether a part was red for this reason."""
        return any(words in reason for reason in self.seen.get(part, ()))


def what_is_wrong() -> str:
    """Say what the box's last look has found wrong, or that it has not looked within the last minute; else nothing."""
    found = status()
    if not found or time.time() - status_time() >= 60:
        return "it has not looked within the last minute"
    wrong = [f"{part} is {one['level']}: {one['reason']}" for part, one in found.items() if one["level"] != "green"]
    return "; ".join(wrong)


def look() -> None:
    """Have the box look now, instead of up to 20 s later."""
    # systemd refuses a sixth start within 10 s, whoever asked for the five.
    lab.run(HOME, "sh", "-euc", "systemctl reset-failed hearth-probe.service; systemctl start hearth-probe.service")


def look_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Have the box look again and again until something is so: for what is not to be timed."""

    def looked() -> bool:
        if not condition():
            look()
        return condition()

    lab.wait_for(looked, timeout, what)


def wait_until_well(timeout: float = 300) -> None:
    """Have the box look until it finds nothing wrong."""
    try:
        look_until(lambda: not what_is_wrong(), timeout, "the box being well")
    except lab.LabError as error:
        raise lab.LabError(f"{error}: {what_is_wrong()}") from error


def wait_for_all_clear() -> None:
    """Have the box look until it has written that all is well again."""
    look_until(lambda: letters()[-1].endswith("well again"), 180, "the letter that all is well")


def forget_faults() -> None:
    """Let the box forget what it has found and mended so far: one drill's restarts are no matter of the next one."""
    lab.run(
        HOME,
        "sh",
        "-euc",
        "systemctl stop hearth-probe.timer hearth-probe.service\n"
        # It may not have looked yet.
        "mkdir -p /var/lib/hearthmail/probe /run/hearth-probe\n"
        "find /var/lib/hearthmail/probe /run/hearth-probe -type f -delete\n"
        "systemctl start hearth-probe.timer hearth-probe.service",
    )


def letters() -> list[str]:
    """List the subjects of all letters which the box has written to its owner."""
    with lab.inbox(lab.HANAKO) as session:
        uids = session.search(["FROM", "hearth-probe@"])
        found = session.fetch(uids, ["ENVELOPE"]) if uids else {}
    return [found[uid][b"ENVELOPE"].subject.decode() for uid in sorted(found)]


def told(subjects: list[str]) -> Counter[str]:
    """Count, for each part, the letters which say that it needs a person."""
    ours = [one.partition(": ")[2].removesuffix(" needs you") for one in subjects if one.endswith(" needs you")]
    return Counter(part for one in ours for part in one.split(", "))


# --- Processes -------------------------------------------------------------------------------------------------------


def main_pid(unit: str) -> str:
    """Give the first process of a service."""
    return lab.out(HOME, "systemctl", "show", unit, "-P", "MainPID")


def pid_of(process: str) -> str:
    """Give the number of a process: of a service's first one (`postfix.service`), or the oldest with a name.

    Postfix starts some only when there is something for them to do: it is waited for.
    """
    if process.endswith(".service"):
        return main_pid(process)

    def found() -> str:
        return lab.run(HOME, "pgrep", "-o", "-f", process, check=False).stdout.strip()

    return lab.wait_for(found, SOON, f"{process} running")


def _state(pid: str) -> str:
    """Give the state of a process (proc(5): T is stopped); empty when there is none."""
    try:
        stat = lab.path_of(HOME, f"/proc/{pid}/stat").read_text()
    except (OSError, lab.LabError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def kill(process: str) -> float:
    """End a process at once."""
    pid, at = pid_of(process), time.time()
    lab.run(HOME, "kill", "-KILL", pid)
    lab.wait_for(lambda: _state(pid) in ("", "Z"), SOON, f"{process} being dead")
    return at


def stop(process: str) -> float:
    """Hold a process: it is there, its ports are open, and it does nothing. It stays so until the box acts."""
    pid = pid_of(process)
    lab.run(HOME, "kill", "-STOP", pid)
    lab.wait_for(lambda: _state(pid) == "T", SOON, f"{process} being stopped")
    at = time.time()
    lab.wait_for(lambda: _state(pid) != "T", 300, f"the box having dealt with the stopped {process}")
    return at


def resolver_down() -> float:
    """Stop the box's resolver, as a hand that forgets to start it again."""
    lab.run(HOME, "systemctl", "stop", "unbound")
    at = time.time()
    lab.wait_for(lambda: main_pid("unbound") != "0", 300, "the box having started its resolver again")
    return at


def beyond_restarts() -> float:
    """Put a program in the place of Postfix's SMTP server that never answers, in a way that a reboot ends.

    As a hang of the kernel or of a disk, which no restart of a service mends.
    """
    boot = lab.out(HOME, "cat", "/proc/1/stat").split()[21]
    smtpd = "/usr/lib/postfix/sbin/smtpd"
    script = (
        f"printf '#!/bin/sh\\nexec sleep 1000\\n' >/run/smtpd; chmod 755 /run/smtpd; mount --bind /run/smtpd {smtpd}"
    )
    lab.run(HOME, "sh", "-c", script)
    # Its processes have a view of the file system of their own, made when it starts.
    lab.run(HOME, "systemctl", "restart", POSTFIX)
    at = time.time()

    def rebooted() -> bool:
        # The container is another process of this machine then.
        lab.forget()
        done = lab.run(HOME, "cat", "/proc/1/stat", check=False)
        return done.returncode == 0 and done.stdout.split()[21] != boot

    lab.wait_for(rebooted, 400, "the box having rebooted itself")
    _started_again()
    return at


# --- Power and lines -------------------------------------------------------------------------------------------------


def _started_again() -> None:
    lab.forget()
    for path in (lab.BUILD / "lab/ssh/control").glob("*"):
        path.unlink()


def power_cut() -> float:
    """Take the box's power, and give it back."""
    lab.kill(HOME)
    queued = stream.peer_queue()
    lab.wait_for(lambda: stream.peer_queue() > queued, SOON, "mail waiting for the box")
    lab.start(HOME)
    at = time.time()
    _started_again()
    return at


@contextlib.contextmanager
def _cable_out() -> Iterator[None]:
    rules = "; ".join(
        f"chain {hook} {{ type filter hook {hook} device lan priority 0; policy drop; }}"
        for hook in ("ingress", "egress")
    )
    lab.run(HOME, "nft", f"table netdev drill {{ {rules}; }}")
    try:
        yield
    finally:
        lab.run(HOME, "nft", "delete", "table", "netdev", "drill")


def network_cut() -> float:
    """Pull the box's cable out, until a good deal of mail waits."""
    with _cable_out():
        lab.wait_for(lambda: stream.peer_queue() >= 20, SOON, "mail waiting for the box")
    return time.time()


def new_address() -> float:
    """Let the line get another address; DNS has to follow."""
    new = next(one for one in ("198.51.100.23", "198.51.100.24") if one != lab.wan_address())
    lab.move(wan_address=new)
    lab.wait_for(lambda: lab.published(lab.MAIL_NAME) == [new], 180, f"the provider answering with {new}")
    return lab.path_of("hearth-router", "/etc/lab-wan-address").stat().st_mtime


def provider_down() -> float:
    """Stop the DNS provider, name servers and interface, until the box has seen it; nobody remembers an answer."""
    lab.run("hearth-provider", "systemctl", "stop", "pdns")
    try:
        lab.world_forgets(*lab.DOMAINS)
        lab.wait_for(stream.peer_queue, SOON, "mail waiting for the box")
        # It looks at everything every five minutes by itself; now it does.
        lab.run(HOME, "hearth-ddns", "check", check=False)
        wait_for_red("dns agent")
    finally:
        lab.run("hearth-provider", "systemctl", "start", "pdns")
    # Nor that there was none (RFC 2308, section 7).
    lab.world_forgets(*lab.DOMAINS)
    at = time.time()
    # Again it does not wait for its five minutes.
    lab.wait_for(
        lambda: not lab.run(HOME, "hearth-ddns", "check", check=False).returncode, SOON, "the provider's answer"
    )
    return at


# --- Room, memory, time ----------------------------------------------------------------------------------------------

DISK = "/srv/disk"
# The box's status names a file system by the first of its folders.
ROOM = "room /var/vmail"


def _until_told(part: str, reason: str) -> None:
    """Wait until the box has told its owner, or would, if mail could leave it."""
    wait_for_red(part, reason)
    before = status_time()
    # It tells after two looks.
    look_until(lambda: status_time() > before and is_red(part), 120, f"a second look at {part}")


def status_time() -> float:
    """Tell when the box has looked last."""
    try:
        return float(json.loads(lab.path_of(HOME, "/run/hearth-probe/status.json").read_text())["at"])
    except (OSError, lab.LabError):
        return 0.0


def _free(what: str) -> int:
    return int(lab.out(HOME, "stat", "-f", "-c", what, DISK))


def disk_full() -> float:
    """Fill the disk with mail store and queue to the last block."""
    # In large pieces first, then in small ones.
    fill = " ; ".join(f"dd if=/dev/zero bs={size} 2>/dev/null >>{DISK}/filler" for size in ("1M", "4k", "512"))

    def full() -> bool:
        # Some may come free meanwhile: a message has left the queue.
        lab.run(HOME, "sh", "-c", fill, check=False)
        return _free("%a") < 8

    try:
        lab.wait_for(full, SOON, "no block being left")
        lab.wait_for(stream.peer_queue, SOON, "mail waiting for room")
        _until_told(ROOM, "")
    finally:
        lab.run(HOME, "rm", f"{DISK}/filler")
    return time.time()


def inodes_used_up() -> float:
    """Use up the inodes of the disk with mail store and queue."""

    def used_up() -> bool:
        # Some may come free meanwhile. Each one beyond costs as much as one that is there.
        more = _free("%d") + 500
        files = f"{DISK}/many/{time.monotonic_ns()}"
        fill = f"mkdir -p {files}; cd {files}; seq {more} | xargs -n 1000 touch 2>/dev/null"
        lab.run(HOME, "sh", "-c", fill, check=False)
        return _free("%d") == 0

    try:
        lab.wait_for(used_up, SOON, "no inode being left")
        lab.wait_for(stream.peer_queue, SOON, "mail waiting for an inode")
        _until_told(ROOM, "inode")
    finally:
        lab.run(HOME, "rm", "-r", f"{DISK}/many")
    return time.time()


def _memory_group() -> tuple[Path, str, str, str]:
    """Find the box's memory group: its folder, the names of its limit and use, and of the count of kills."""
    lines = Path(f"/proc/{lab.pid_of(HOME)}/cgroup").read_text().splitlines()
    groups = {line.split(":")[1]: line.split(":")[2] for line in lines}
    if "memory" in groups:
        folder = Path("/sys/fs/cgroup/memory" + groups["memory"])
        return folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"
    # On control groups v2 the box's systemd has moved itself into a group below the container's.
    folder = Path("/sys/fs/cgroup" + groups[""].removesuffix("/init.scope"))
    return folder, "memory.max", "memory.current", "memory.events"


def memory_short() -> float:
    """Take the box's memory, while many programs read mail, until the kernel has killed something."""
    folder, limit, use, events = _memory_group()

    def kills() -> int:
        lines = (folder / events).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    before, unlimited = kills(), (folder / limit).read_text().strip()
    enough = threading.Event()

    def read_mail() -> None:
        while not enough.is_set():
            with contextlib.suppress(OSError, IMAPClientError, lab.LabError), lab.inbox(lab.TARO) as session:
                session.search(["TEXT", "drill"])
                enough.wait(1)

    with ThreadPoolExecutor(40) as pool:
        try:
            for _ in range(40):
                pool.submit(read_mail)
            # Caches go first; what programs hold cannot.
            lab.wait_for(
                lambda: _tighten(folder / limit, folder / use) or kills() > before, SOON, "the kernel killing something"
            )
        finally:
            (folder / limit).write_text("-1" if limit == "memory.limit_in_bytes" else unlimited)
            enough.set()
    # Its first process may have been the one that was killed.
    lab.forget()
    return time.time()


def _tighten(limit: Path, use: Path) -> bool:
    """Set the limit below what is used. Where nothing can be freed, the kernel refuses (v1: EBUSY) or kills (v2)."""
    with contextlib.suppress(OSError):
        limit.write_text(str(int(use.read_text()) - 2 * 1024 * 1024))
    return False


@contextlib.contextmanager
def clock_in_hand(*units: str) -> Iterator[Callable[[str], None]]:
    """Take the clock of some services in hand while they run; gives what sets it, by libfaketime's words.

    Only theirs: the container shares this machine's clock. They see it some seconds later, not all at once.
    """
    lab.run(HOME, "sh", "-c", "apt-get install -qq --no-install-recommends libfaketime >/dev/null")
    drop_in = (
        "[Service]\\nBindReadOnlyPaths=/run/drill/preload:/etc/ld.so.preload /run/drill/clock:/etc/faketimerc\\n"
        # What a machine counts since its start is not what somebody sets.
        "Environment=FAKETIME_DONT_FAKE_MONOTONIC=1\\n"
    )
    folders = " ".join(f"/run/systemd/system/{unit}.d" for unit in units)
    lab.run(
        HOME,
        "sh",
        "-euc",
        "mkdir -p /run/drill; ls /usr/lib/*/faketime/libfaketime.so.1 >/run/drill/preload; echo +0 >/run/drill/clock\n"
        # The places on which they are mounted.
        "touch /etc/ld.so.preload /etc/faketimerc\n"
        f"for folder in {folders}; do mkdir -p $folder; printf '{drop_in}' >$folder/drill.conf; done\n"
        f"systemctl daemon-reload; systemctl restart {' '.join(units)}",
    )

    def set_clock(words: str) -> None:
        lab.path_of(HOME, "/run/drill/clock").write_text(f"{words}\n")

    try:
        mail_comes_in(60, "with the clock under our hand")
        yield set_clock
    finally:
        lab.run(
            HOME,
            "sh",
            "-euc",
            f"for folder in {folders}; do rm $folder/drill.conf; done; rm /etc/ld.so.preload /etc/faketimerc\n"
            f"systemctl daemon-reload; systemctl restart {' '.join(units)}",
        )


def clock_back() -> float:
    """Set the clock of the mail services back by an hour; it stays wrong until mail has come in.

    Dovecot starts nothing new for three minutes when it sees that.
    """
    with clock_in_hand(POSTFIX, "dovecot.service") as set_clock:
        set_clock("-1h")
        lab.wait_for(lambda: "moved backwards" in _log("dovecot"), SOON, "Dovecot having seen its clock go back")
        mail_comes_in(300, "though the clock is an hour late")
        set_clock("+0")
    return time.time()


def _log(unit: str) -> str:
    return lab.out(HOME, "journalctl", "-u", unit, "-o", "cat", "--no-pager", "--since", "-2min")


def mail_comes_in(timeout: float, when: str) -> None:
    """Wait until a message that is sent now is in a mailbox."""
    token = lab.submit_at_peer(lab.message(lab.ALICE, lab.TARO))
    lab.wait_for(lambda: lab.files_with(lab.TARO, token), timeout, f"mail coming in {when}")
