"""`make bench`: the numbers of docs/performance.md, as a table and as build/bench.json.

It throws the home box away and starts with a bare one. Usage: bench.py [--moves N] [--messages N] [--only WORD ...];
the words are deploy, memory, mail, dns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from tests.flow import lab

SESSIONS = 20
MESSAGE_SIZE = 10_000
# Ten mailboxes of their own, so that nobody's mail is in the way.
BENCH_USERS = [f"bench{number}@hearth.example" for number in range(10)]
UNITS = {
    "trixie": ("postfix", "dovecot", "unbound", "hearth-ddns"),
    "bookworm": ("postfix@-", "dovecot", "unbound", "hearth-ddns"),
}

# Debian's Postfix of that release: the lab's proxy has fetched it if a box of that release was ever deployed.
CACHED = {"trixie": "postfix_3.10*.deb", "bookworm": "postfix_3.7*.deb"}

# Takes the filter that stores each message once out of Dovecot's configuration, for a comparison.
WITHOUT_FILTER = {"trixie": "/^sieve_script once {/,/^}/d", "bookworm": "/sieve_before/d"}

# What Ansible does by itself, without a word to the box.
AT_THE_CONTROLLER = {
    "assert",
    "debug",
    "set_fact",
    "include_role",
    "import_role",
    "include_tasks",
    "meta",
    "validate_argument_spec",
}

# Runs on the box: sums up the proportional share of memory of each service's processes, in KiB. Processes are found by
# what they say themselves: where cgroups are mounted differs between machines.
PSS = r"""
import json, pathlib, subprocess, sys
groups = {}
for path in pathlib.Path("/proc").glob("[0-9]*/cgroup"):
    try:
        groups[path.parent] = {line.split(":", 2)[2] for line in path.read_text().splitlines()}
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended meanwhile
sums = {}
for unit in sys.argv[1:]:
    command = ["systemctl", "show", "-P", "ControlGroup", unit]
    top = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not top:
        sys.exit(f"{unit} does not run")
    inside = [one for one, names in groups.items() if any((name + "/").startswith(top + "/") for name in names)]
    if not inside:
        sys.exit(f"no process of {unit} was found in {top}")
    sums[unit] = 0
    for process in inside:
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        sums[unit] += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    if not sums[unit]:
        sys.exit(f"the memory of {unit} cannot be read")
print(json.dumps(sums))
"""


@dataclass(frozen=True)
class Number:
    """One measured number."""

    what: str
    value: float
    unit: str
    goal: str = ""
    note: str = ""


def say(text: str) -> None:
    """Tell what goes on: a bench is long."""
    print(f"   {time.strftime('%H:%M:%S')} {text}", flush=True)


def bare_box() -> None:
    """Throw the home box away and start a new one."""
    lab.playbook("molecule/shared/home.yml")
    lab.forget()


def visits_and_changes(run: str) -> tuple[int, int]:
    """Count, in a run's output as JSON, the tasks which had to talk to the box, and those which changed it."""
    # Around it stand the times which ansible.cfg asks for.
    plays = json.JSONDecoder().raw_decode(run, run.index("{"))[0]["plays"]
    tasks = [task["hosts"].get("hearth-home", {}) for play in plays for task in play["tasks"]]
    done = [task for task in tasks if task and not task.get("skipped")]
    visits = [task for task in done if task["action"].removeprefix("ansible.builtin.") not in AT_THE_CONTROLLER]
    return len(visits), sum(task["changed"] for task in done)


def deploy(_: argparse.Namespace) -> list[Number]:
    """Measure the first run on a bare box, and the second that has nothing to do."""
    if not lab.out("hearth-mirror", "find", "/var/cache/apt-cacher-ng", "-name", CACHED[lab.RELEASE]):
        say("Debian's packages are not in the proxy's cache: a deployment before, which does not count")
        bare_box()
        lab.playbook("playbooks/site.yml")
    say("a bare box in the place of the old one")
    bare_box()
    say("site.yml on the bare box")
    start = time.monotonic()
    lab.playbook("playbooks/site.yml")
    first = time.monotonic() - start
    token = lab.submit_at_peer(lab.message(lab.ALICE, lab.HANAKO))
    lab.wait_for_mail(lab.HANAKO, token, timeout=120)
    to_mail = time.monotonic() - start
    say("site.yml once more")
    start = time.monotonic()
    again = lab.playbook("playbooks/site.yml", callback="ansible.posix.json")
    second = time.monotonic() - start
    visits, changes = visits_and_changes(again.stdout)
    return [
        Number("bare box to the end of site.yml", first, "s", "<= 90", "packages in the proxy's cache"),
        Number("bare box to the first mail from the world in a mailbox", to_mail, "s", "<= 90"),
        Number("second run", second, "s", "<= 20"),
        Number("second run, tasks that talk to the box", visits, "tasks", "<= 60"),
        Number("second run, changes", changes, "", "0"),
    ]


def memory(_: argparse.Namespace) -> list[Number]:
    """Measure the memory of the idle services."""
    say("memory of the services, each newly started")
    units = UNITS[lab.RELEASE]
    lab.run("hearth-home", "systemctl", "restart", *units)
    lab.wait_for(lambda: lab.opens("hearth-pc", lab.HOME_LAN, 993), 30, "the services being back")
    # One of each kind of session has been served, then all are idle.
    lab.wait_for_mail(lab.HANAKO, lab.submit_at_peer(lab.message(lab.ALICE, lab.HANAKO)), timeout=120)
    lab.pop3("hearth-pc", lab.HANAKO).quit()
    sums = json.loads(lab.out("hearth-home", "python3", "-c", PSS, *units))
    numbers = [Number(f"memory of {unit}, idle", kib / 1024, "MiB PSS") for unit, kib in sums.items()]
    total = sum(sums.values()) / 1024
    return [*numbers, Number("memory of all services, idle", total, "MiB PSS", "<= 250")]


def waiting(users: list[str]) -> int:
    """Count the messages in the Maildirs of the bench's users."""
    return sum(
        len(os.listdir(path))  # noqa: PTH208 -- counted ten times a second, in folders of thousands
        for user in users
        if (path := lab.path_of("hearth-home", f"{lab.maildir(user)}/new")).is_dir()
    )


def send(users: list[str], messages: int) -> float:
    """Send to all users at once, in SESSIONS sessions together; give the seconds until all is in the Maildirs."""
    sessions, share = SESSIONS // len(users), messages // len(users)
    target = f"{lab.wan_address()}:25"

    def deliver(user: str) -> None:
        # Postfix's own load generator: it takes little of the processors which it shares with the box.
        size = ["-s", str(sessions), "-m", str(share), "-l", str(MESSAGE_SIZE)]
        who = ["-M", "smtp.isp.example", "-f", "hanako@isp.example", "-t", user]
        lab.run("hearth-isp", "smtp-source", "-d", *size, *who, target)

    before = waiting(users)
    start = time.monotonic()
    with ThreadPoolExecutor(len(users)) as pool:
        list(pool.map(deliver, users))
    lab.wait_for(lambda: waiting(users) - before >= share * len(users), 600, "all messages being in the Maildirs")
    seconds = time.monotonic() - start
    more = waiting(users) - before - share * len(users)
    if more:
        raise lab.LabError(f"{more} messages are there twice")
    return seconds


def deferred() -> int:
    """Count the deliveries which were put off, in the log of the box."""
    log = lab.out("hearth-home", "journalctl", "--no-pager", "-o", "cat", "-t", "postfix/lmtp")
    return log.count("status=deferred")


def mail(options: argparse.Namespace) -> list[Number]:
    """Measure how many messages a second reach the mailboxes."""
    say("ten users for the bench")
    site = (lab.PROJECT / "inventories/lab/group_vars/all/site.yml").read_text(encoding="utf-8")
    users = yaml.safe_load(site)["mail_users"]
    users += [{"address": user, "password": lab.lab_password(user)} for user in BENCH_USERS]
    lab.playbook("playbooks/site.yml", "--tags", "dovecot,postfix", extra={"mail_users": users})
    numbers = []
    try:
        # Logins and folders that are made at the first delivery are no part of it.
        send(BENCH_USERS, 10 * SESSIONS)
        before = deferred()
        for title, some in (("one mailbox", BENCH_USERS[:1]), ("ten mailboxes", BENCH_USERS)):
            say(f"{options.messages} messages into {title}")
            seconds = send(some, options.messages)
            numbers.append(Number(f"messages into {title}", options.messages / seconds, "/s", "about 273"))
        numbers.append(Number("deliveries put off meanwhile", deferred() - before, "", "0"))
        say("the same without what keeps a message from being stored twice")
        lab.run("hearth-home", "sed", "-i", WITHOUT_FILTER[lab.RELEASE], "/etc/dovecot/dovecot.conf")
        settings = ("recipient_limit", "concurrency_limit", "concurrency_failed_cohort_limit")
        lab.run("hearth-home", "postconf", "-X", *(f"lmtp_destination_{name}" for name in settings))
        lab.run("hearth-home", "systemctl", "reload", UNITS[lab.RELEASE][0], "dovecot")
        for title, some in (("one mailbox", BENCH_USERS[:1]), ("ten mailboxes", BENCH_USERS)):
            ours = next(number.value for number in numbers if number.what == f"messages into {title}")
            bare = options.messages / send(some, options.messages)
            numbers.append(Number(f"messages into {title}, bare Postfix and Dovecot", bare, "/s"))
            numbers.append(Number(f"messages into {title}, ours against bare", ours / bare, "times", ">= 1"))
    finally:
        lab.playbook("playbooks/site.yml", "--tags", "dovecot,postfix")
        lab.run("hearth-home", "sh", "-c", "rm -rf /var/vmail/hearth.example/bench[0-9]*")
    return numbers


def move_once() -> float:
    """Give the line another address; give the seconds until the provider's servers answer with it."""
    new = next(one for one in ("198.51.100.23", "198.51.100.24") if one != lab.wan_address())
    lab.move(wan_address=new)
    lab.wait_for(lambda: lab.published(lab.MAIL_NAME) == [new], 120, f"A being {new}")
    return time.time() - lab.path_of("hearth-router", "/etc/lab-wan-address").stat().st_mtime


def names(options: argparse.Namespace) -> list[Number]:
    """Measure how long the provider's servers answer wrong after the line has got another address."""
    seconds = []
    for turn in range(options.moves):
        say(f"move {turn + 1} of {options.moves}")
        seconds.append(move_once())
    lab.restore_line()
    seconds.sort()
    p95 = seconds[round(0.95 * (len(seconds) - 1))]
    note = f"{options.moves} moves, box behind NAT"
    return [
        Number("right answer after an address change, half of them", statistics.median(seconds), "s", "", note),
        Number("right answer after an address change, 95 %", p95, "s", "<= 15", note),
    ]


PARTS: dict[str, Callable[[argparse.Namespace], list[Number]]] = {
    "deploy": deploy,
    "memory": memory,
    "mail": mail,
    "dns": names,
}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure; see docs/performance.md.")
    parser.add_argument("--moves", type=int, default=10, help="address changes (default: %(default)s)")
    parser.add_argument(
        "--messages", type=int, default=2000, help="messages for each mail bench (default: %(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    options = parser.parse_args()
    if options.messages <= 0 or options.messages % len(BENCH_USERS):
        parser.error(f"--messages {options.messages}: write a multiple of {len(BENCH_USERS)}, the number of mailboxes")
    if options.moves <= 0:
        parser.error(f"--moves {options.moves}: write 1 or more")
    numbers: list[Number] = []
    for part in options.only:
        print(f"== {part}", flush=True)
        numbers += PARTS[part](options)
    print()
    print(f"| {'what':56} | {'measured':>16} | {'goal':>9} |\n|{'-' * 58}|{'-' * 17}:|{'-' * 10}:|")
    for number in numbers:
        value = f"{number.value:.1f}".removesuffix(".0") + f" {number.unit}"
        print(f"| {number.what:56} | {value.strip():>16} | {number.goal:>9} |")
    lab.BUILD.mkdir(exist_ok=True)
    result = {"release": lab.RELEASE, "processors": os.cpu_count(), "numbers": [asdict(number) for number in numbers]}
    (lab.BUILD / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\nWritten to build/bench.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
