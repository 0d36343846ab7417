"""`make bench-ddns`: how soon the world knows a new address, by our agent and by others; as a table and as JSON.

It runs in the lab with a deployed box, and leaves it as it was. The clock starts when the address changes, and stops
when the provider's authoritative server, asked every 20 ms in its own network, answers with the new one.

    event    the box itself holds the public address: the kernel tells of the change
    router   the box is behind the router, which is asked
    idle     memory and processor time of the resident service while nothing changes
    others   inadyn and ddclient of Debian, on the computer in the home, at their shortest intervals, by Dyn's protocol

Usage: bench_ddns.py [--only PART,...] [--count N] [--others-count N] [--idle SECONDS]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from tests.flow import lab

LOOK_EVERY = 0.02  # seconds between two questions to the authoritative server
LIMIT = 400  # seconds after which a change is not waited for any more
SERVICE = "hearth-ddns.service"
# The line's addresses by turns: at the router, and on the box itself.
ROUTER = ("198.51.100.23", "198.51.100.24")
BOX = ("198.51.100.41", "198.51.100.42")

# The zone in which the other clients have a name each, by the account `bench` (inventories/lab: lab_dyndns_accounts).
ZONE = "providers.example"
ZONE_TEXT = f"""$ORIGIN {ZONE}.
@ 300 SOA ns1.provider.example. hostmaster.provider.example. 1 3600 600 604800 10
@ 300 NS  ns1.provider.example.
"""


@dataclass(frozen=True)
class Client:
    """Another client of dynamic DNS.

    :param interval: the shortest that it takes, in seconds.
    :param packaged: what Debian's package does unless told otherwise.
    :param settings: its file of settings, with `{name}` and `{interval}` in it.
    :param command: how it runs in the foreground with its files in `{place}`.
    """

    name: str
    interval: int
    packaged: str
    settings: str
    command: str


CLIENTS = (
    Client(
        "inadyn",
        30,
        "60 s (its own default; the packaged file proposes 300 s)",
        """period = {interval}
allow-ipv6 = false
custom bench {{
    username = bench
    password = bench-secret
    ddns-server = update.provider.example
    ddns-path = "/nic/update?hostname=%h&myip=%i"
    hostname = {name}
    checkip-server = checkip.provider.example
    checkip-path = /
    checkip-ssl = false
    ssl = false
}}
""",
        "inadyn --foreground --config {place}/settings --cache-dir {place} --pidfile {place}/pid",
    ),
    Client(
        "ddclient",
        60,
        "300 s (daemon_interval=5m of its unit)",
        """ssl=no
usev4=webv4, webv4=http://checkip.provider.example/
protocol=dyndns2
server=update.provider.example
login=bench
password='bench-secret'
{name}
""",
        "ddclient -foreground -daemon {interval} -file {place}/settings -cache {place}/cache -pid {place}/pid",
    ),
)


@dataclass(frozen=True)
class Times:
    """The seconds that the changes took until they were seen, of one way to find the address.

    :param interval: how often it looks, in words.
    :param packaged: what it does unless told otherwise; empty: the same.
    """

    what: str
    seconds: Sequence[float]
    interval: str
    packaged: str = ""
    goal: str = ""

    @property
    def p50(self) -> float:
        """Half of them took no longer."""
        return rank(self.seconds, 0.5)

    @property
    def p95(self) -> float:
        """95 % of them took no longer; of five it is the longest."""
        return rank(self.seconds, 0.95)


@dataclass
class Result:
    """What was measured."""

    times: list[Times] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def rank(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share of all does not exceed (nearest rank)."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def say(text: str) -> None:
    """Tell what goes on: a bench is long."""
    print(f"   {time.strftime('%H:%M:%S')} {text}", flush=True)


# The change and its end -----------------------------------------------------------------------------------------------


def answers_with(name: str, address: str) -> float:
    """Wait until the authoritative server answers with an address and no other; give when that was, since 1970."""
    query = dns.message.make_query(name, "A")
    end = time.monotonic() + LIMIT
    with lab.node("hearth-provider"):
        while time.monotonic() < end:
            with contextlib.suppress(dns.exception.Timeout):
                answer = dns.query.udp(query, lab.PROVIDER, timeout=1)
                found = [one for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A for one in rrset]
                if [one.to_text() for one in found] == [address]:
                    return time.time()
            time.sleep(LOOK_EVERY)
    raise lab.LabError(f"{LIMIT} s after the change {name} is still not {address}")


def move_line(new: str) -> float:
    """Give the router's line another address, as molecule/shared/move.yml does; give when, since 1970."""
    lab.run(
        "hearth-router",
        "sh",
        "-c",
        f"echo {new} > /etc/lab-wan-address; systemctl restart lab-wan; systemctl restart miniupnpd",
    )
    return lab.path_of("hearth-router", "/etc/lab-wan-address").stat().st_mtime


def one_change(change: Callable[[str], float], new: str, names: Sequence[str]) -> list[float]:
    """Change the address; give the seconds until each name leads to it."""
    with ThreadPoolExecutor(1 + len(names)) as pool:
        seen = [pool.submit(answers_with, name, new) for name in names]
        start = pool.submit(change, new).result()
        return [one.result() - start for one in seen]


def changes(
    change: Callable[[str], float],
    addresses: Sequence[str],
    names: Sequence[str],
    count: int,
    pause: tuple[float, float],
) -> list[list[float]]:
    """Change the address so often; give the seconds of each name.

    :param pause: between which seconds the pause before a change is, by chance: a client looks at its own times.
    """
    # The same pauses in each run.
    dice = random.Random(5)  # noqa: S311 -- no secret
    found: list[list[float]] = []
    for turn in range(count):
        time.sleep(dice.uniform(*pause))
        found.append(one_change(change, addresses[turn % 2], names))
        if (turn + 1) % 10 == 0 or count < 10:
            say(f"change {turn + 1} of {count}: {', '.join(f'{seconds:.2f} s' for seconds in found[-1])}")
    return [list(column) for column in zip(*found, strict=True)]


# Our agent ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def without_write_limits() -> Iterator[None]:
    """Have the box's agent write as often as the address changes: what is measured is its speed, not its patience."""
    lab.playbook("playbooks/dns.yml", extra={"ddns_write_limits": False})
    try:
        yield
    finally:
        lab.playbook("playbooks/dns.yml")


def event(options: argparse.Namespace, result: Result) -> None:
    """Measure with the public address on the box itself."""
    say(f"{options.count} changes of the address on the box itself")
    try:
        lab.hold_address(BOX[1])
        answers_with(lab.MAIL_NAME, BOX[1])
        (seconds,) = changes(lab.hold_address, BOX, [lab.MAIL_NAME], options.count, (1, 3))
    finally:
        lab.hold_address(None)
    answers_with(lab.MAIL_NAME, lab.wan_address())
    result.times.append(Times("hearth-ddns, address on the box", seconds, "the kernel's event", goal="p95 <= 2 s"))
    result.numbers["event_p95_s"] = result.times[-1].p95


def router(options: argparse.Namespace, result: Result) -> None:
    """Measure with the box behind the router."""
    say(f"{options.count} changes of the router's address")
    start = next(one for one in ROUTER[::-1] if one != lab.wan_address())
    order = [one for one in ROUTER if one != start] + [start]
    move_line(start)
    answers_with(lab.MAIL_NAME, start)
    (seconds,) = changes(move_line, order, [lab.MAIL_NAME], options.count, (0, 10))
    result.times.append(Times("hearth-ddns, router asked", seconds, "10 s", goal="p95 <= 15 s"))
    result.numbers["router_p95_s"] = result.times[-1].p95


def main_process() -> int:
    """Find the resident service's first process."""
    pid = int(lab.out("hearth-home", "systemctl", "show", SERVICE, "-P", "MainPID"))
    if not pid:
        raise lab.LabError(f"{SERVICE} does not run on hearth-home")
    return pid


def resident_memory() -> float:
    """Read the resident memory of the service's first process (VmRSS), in MB."""
    lines = lab.path_of("hearth-home", f"/proc/{main_process()}/status").read_text().splitlines()
    (size,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return size * 1024 / 1e6


def processor_time() -> tuple[float, str]:
    """Read how long the service has used a processor, in seconds, and who counted.

    systemd counts where its control groups can; otherwise the kernel does: the first process with its ended children.
    """
    counted = lab.out("hearth-home", "systemctl", "show", SERVICE, "-P", "CPUUsageNSec")
    # "Not set" is the largest number that fits.
    if counted.isdigit() and int(counted) < 2**63:
        return int(counted) / 1e9, "by the service's control group"
    text = lab.path_of("hearth-home", f"/proc/{main_process()}/stat").read_text()
    # After the name in brackets: utime, stime, cutime, cstime are the fields 14 to 17 of the line (proc(5)).
    ticks = text.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), "by the kernel, with ended children"


def idle(options: argparse.Namespace, result: Result) -> None:
    """Measure what the resident service needs while nothing changes."""
    say(f"the agent at rest for {options.idle} s")
    process = main_process()
    before, _ = processor_time()
    start = time.monotonic()
    time.sleep(options.idle)
    after, counted = processor_time()
    hours = (time.monotonic() - start) / 3600
    if main_process() != process:
        raise lab.LabError(f"{SERVICE} was started anew while it was measured")
    result.numbers["rss_mb"] = resident_memory()
    result.numbers["cpu_s_per_hour"] = (after - before) / hours
    result.notes.append(
        f"Processor time: {after - before:.2f} s in {options.idle} s without a change, {counted}, scaled to an hour. "
        "Memory: VmRSS of the first process at its end."
    )


# Others ---------------------------------------------------------------------------------------------------------------

INSTALL = """set -eu
export DEBIAN_FRONTEND=noninteractive
# They are started by the bench, not by their packages.
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
trap 'rm /usr/sbin/policy-rc.d' EXIT
proxy='-o Acquire::http::Proxy=http://198.51.100.50:3142'
apt-get $proxy update -qq
apt-get $proxy install -y -qq --no-install-recommends "$@"
"""


@contextlib.contextmanager
def running(client: Client) -> Iterator[str]:
    """Have a client run on the computer in the home; gives its name in the zone."""
    place, unit, name = f"/run/bench-{client.name}", f"bench-{client.name}", f"{client.name}.{ZONE}"
    lab.run("hearth-pc", "install", "-d", "-m", "0700", place)
    settings = client.settings.format(name=name, interval=client.interval)
    lab.run("hearth-pc", "sh", "-c", f"umask 077; cat > {place}/settings", stdin=settings)
    command = client.command.format(place=place, interval=client.interval).split()
    lab.run("hearth-pc", "systemd-run", "--quiet", "--collect", f"--unit={unit}", *command)
    try:
        yield name
    finally:
        lab.run("hearth-pc", "systemctl", "stop", unit, check=False)
        lab.run("hearth-pc", "rm", "-rf", place)


def others(options: argparse.Namespace, result: Result) -> None:
    """Measure inadyn and ddclient together: both see the same changes."""
    packages = [client.name for client in CLIENTS]
    say(f"installing {' and '.join(packages)} on hearth-pc")
    lab.run("hearth-pc", "sh", "-c", INSTALL, "install", *packages)
    versions = [
        f"{one} {lab.out('hearth-pc', 'dpkg-query', '--show', '--showformat=${Version}', one)}" for one in packages
    ]
    result.notes.append(f"Debian's {', '.join(versions)}; they ask checkip.provider.example.")
    say(f"{options.others_count} changes for them")
    start = next(one for one in ROUTER if one != lab.wan_address())
    order = [one for one in ROUTER if one != start] + [start]
    with contextlib.ExitStack() as stack:
        stack.enter_context(lab.zone_at_provider(ZONE, ZONE_TEXT))
        move_line(start)
        names = [stack.enter_context(running(client)) for client in CLIENTS]
        for name in names:
            answers_with(name, start)
        longest = max(client.interval for client in CLIENTS)
        columns = changes(move_line, order, names, options.others_count, (0, longest))
    for client, seconds in zip(CLIENTS, columns, strict=True):
        times = Times(client.name, seconds, f"{client.interval} s", client.packaged)
        result.times.append(times)
        result.numbers[f"{client.name}_p95_s"] = times.p95


PARTS: dict[str, Callable[[argparse.Namespace, Result], None]] = {
    "event": event,
    "router": router,
    "idle": idle,
    "others": others,
}


def show(result: Result) -> None:
    """Print the tables."""
    print(
        "\n| seconds until the right answer  |   n |    p50 |    p95 |    max | looks every        | packaged | goal |"
    )
    print(f"|{'-' * 33}|----:|-------:|-------:|-------:|{'-' * 20}|---|---|")
    for times in result.times:
        columns = f"{times.p50:6.2f} | {times.p95:6.2f} | {max(times.seconds):6.2f} | {times.interval:18}"
        print(f"| {times.what:31} | {len(times.seconds):3} | {columns} | {times.packaged} | {times.goal} |")
    if "rss_mb" in result.numbers:
        print(f"\nResident memory {result.numbers['rss_mb']:.1f} MB (goal <= 60), ", end="")
        print(f"processor {result.numbers['cpu_s_per_hour']:.2f} s an hour (goal <= 5).")
    print("\nThe agent's limit of writes was off (ddns_write_limits: false): a real line changes more seldom.")
    print("\n".join(result.notes))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure how soon the world knows a new address.")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, by commas (default: %(default)s)")
    parser.add_argument("--count", type=int, default=50, help="changes for our agent (default: %(default)s)")
    parser.add_argument("--others-count", type=int, default=5, help="changes for the others (default: %(default)s)")
    # Two of its looks at all records, which come every 5 minutes.
    parser.add_argument("--idle", type=int, default=600, help="seconds of rest (default: %(default)s)")
    options = parser.parse_args(words)
    options.parts = options.only.split(",")
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"--only {unknown[0]}: write some of {','.join(PARTS)}")
    if min(options.count, options.others_count, options.idle) < 1:
        parser.error("--count, --others-count and --idle: write 1 or more")
    return options


def main() -> int:
    """Measure, print, write."""
    options = parse(sys.argv[1:])
    result = Result()
    lab.restore_line()
    try:
        with without_write_limits():
            for part in [part for part in PARTS if part in options.parts]:
                print(f"== {part}", flush=True)
                PARTS[part](options, result)
    finally:
        lab.restore_line()
    show(result)
    lab.BUILD.mkdir(exist_ok=True)
    document = {
        **{key: round(value, 3) for key, value in result.numbers.items()},
        "release": lab.RELEASE,
        "processors": os.cpu_count(),
        "write_limits": False,
        "times": [{**asdict(one), "p50": one.p50, "p95": one.p95} for one in result.times],
        "notes": result.notes,
    }
    (lab.BUILD / "bench-ddns.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print("\nWritten to build/bench-ddns.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
