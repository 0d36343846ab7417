"""The command `hearth-ddns`.

Exit codes: 0 all is right, 1 an error, 2 changes are planned (`plan`), 3 a record of others is in the way,
4 not yet (`ready`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from hearthmail.ddns import account, challenge, changes, printing, text
from hearthmail.ddns import config as configuration
from hearthmail.ddns import ready as readiness
from hearthmail.ddns import state as memory
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.looks import Looks
from hearthmail.ddns.report import ERROR, NOT_YET, OK, Report
from hearthmail.ddns.schedule import Schedule
from hearthmail.onefile import forget_old_builds, let_all_read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hearth-ddns",
        description="Keeps the zone's address and mail records right, and touches nothing else in it.",
        epilog="Exit codes: 0 all is right, 1 error, 2 changes planned, 3 a record of others is in the way, "
        "4 not yet (ready).",
    )
    parser.add_argument("--config", type=Path, default=configuration.CONFIG_PATH, help="default: %(default)s")
    parser.add_argument("--records", type=Path, default=configuration.FRAGMENTS_PATH, help="default: %(default)s")
    parser.add_argument("--state", type=Path, default=memory.STATE_PATH, help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, explanation: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=explanation, description=explanation)
        added.add_argument("--json", action="store_true", help="answer as JSON")
        return added

    plan = command("plan", "show what `apply` would change; nothing is written")
    plan.add_argument(
        "--quick", action="store_true", help="only if what is asked for has changed since it was put in place"
    )
    plan.add_argument("--adopt", action="store_true", help="as if `adopt` had been asked for")
    plan.add_argument(
        "--ahead",
        action="store_true",
        help="read {role: [record, ...]} from standard input: fragments that a playbook is about to write",
    )
    command("apply", "put all records in place, or none if one of others is in the way")
    adopt = command("adopt", "the same, but take over the places of others' records")
    adopt.add_argument("--domain", action="append", default=[], help="only in this domain (repeat it for more)")
    command("check", "look once: follow the address, heal what we put in place")
    command("serve", "what the service runs: look whenever something has happened or is due")
    command("poke", "have the service look now")
    hooks = command("hooks", "run the programs of ddns.d for a change of address (the service's path unit does)")
    hooks.add_argument("--notes", type=Path, default=changes.NOTES_PATH, help="default: %(default)s")
    hooks.add_argument("--programs", type=Path, default=changes.HOOKS_PATH, help="default: %(default)s")
    command("status", "what is published, and what is not and why; asks nobody")
    command("address", "find the public address")
    records = command("records", "print the records as they should be, to enter them by hand; nothing is written")
    records.add_argument("--table", action="store_true", help="as a table to type in; else as a zone file")
    records.add_argument("--domain", action="append", default=[], help="only of this domain (repeat it for more)")
    ready = command("ready", "may a new key be used? 0: its record was seen for two TTLs by all servers; 4: not yet")
    ready.add_argument("name", help="the record's full name, such as _25._tcp.mail.example.org")
    ready.add_argument("type", help="TLSA or TXT")
    ready.add_argument("value", nargs="?", help="the value as in the fragment; default: all that it asks for there")
    ready.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for it; default: %(default)s")
    challenges = command("challenge", "add or remove the records by which a certificate authority knows us")
    challenges.add_argument("action", choices=["add", "remove"])
    challenges.add_argument(
        "pairs", nargs="+", metavar="domain token", help="a name and its token, as often as needed: one write a zone"
    )
    challenges.add_argument(
        "--wait",
        type=float,
        default=120,
        metavar="SECONDS",
        help="how long to wait until all servers answer what was added; default: %(default)s",
    )
    return parser


def _agent(arguments: argparse.Namespace) -> Agent:
    """Read the configuration, as root; then be root no longer."""
    config = configuration.load(arguments.config)
    ahead = json.load(sys.stdin) if arguments.command == "plan" and arguments.ahead else None
    if arguments.state == memory.STATE_PATH:
        account.become(arguments.state.parent)
    return Agent(config, arguments.records, arguments.state, ahead)


def _run(arguments: argparse.Namespace) -> Report:
    report = _work(arguments, _agent(arguments))
    if report.moved:
        changes.announce(*report.moved)
    return report


def _work(arguments: argparse.Namespace, agent: Agent) -> Report:
    config = agent.config
    if arguments.command == "plan":
        return agent.plan(quick=arguments.quick, adopt=[] if arguments.adopt else None)
    if arguments.command == "apply":
        return agent.apply()
    if arguments.command == "adopt":
        _known(arguments.domain, config)
        return agent.apply(adopt=arguments.domain)
    if arguments.command == "check":
        return agent.check()
    if arguments.command == "challenge":
        asked = challenge.parse(arguments.pairs, config)
        return (
            challenge.add(agent, asked, arguments.wait) if arguments.action == "add" else challenge.remove(agent, asked)
        )
    remembered = memory.load(arguments.state) or memory.State()
    return Report(found=agent.find(remembered, probe=False))


def _serve(arguments: argparse.Namespace) -> int:
    """The resident service."""
    from hearthmail.ddns import daemon
    from hearthmail.ddns.publish import make_provider

    agent = _agent(arguments)
    for provider in {one.name: one for one in agent.config.domains.values()}.values():
        # The provider's package is loaded here, once: each writing process is a copy of this one.
        # One that cannot be made is told by each look, and must not keep the others from being followed.
        if provider.type != "none":
            with contextlib.suppress(Exception):
                make_provider(provider)

    def say(report: Report) -> None:
        said = text.lines(report)
        if said:
            print("\n".join(said), flush=True)

    with daemon.world() as world:
        daemon.serve(Looks(agent).look, say, Schedule(time.time()), world)
    return OK


def _poke() -> int:
    """Have the service look now: its unit sends it the signal (ExecReload)."""
    return subprocess.run(["/usr/bin/systemctl", "--no-block", "reload", "hearth-ddns.service"], check=False).returncode


def _hooks(arguments: argparse.Namespace) -> int:
    wrong = changes.work_off(arguments.notes, arguments.programs)
    for line in wrong:
        print(line, file=sys.stderr)
    return ERROR if wrong else OK


def _known(domains: list[str], config: configuration.Config) -> None:
    unknown = set(domains) - set(config.domains)
    if unknown:
        raise AgentError(
            f"Not a domain of this box: {', '.join(sorted(unknown))}.",
            f"It has {', '.join(config.domains)}.",
        )


def _print_records(arguments: argparse.Namespace) -> int:
    agent = _agent(arguments)
    _known(arguments.domain, agent.config)
    zones, notes = agent.records()
    zones = {zone: rrsets for zone, rrsets in zones.items() if not arguments.domain or zone in arguments.domain}
    if arguments.json:
        print(
            json.dumps({"notes": notes, "zones": {zone: printing.rows(one) for zone, one in zones.items()}}, indent=1)
        )
        return OK
    # In a zone file a comment begins with a semicolon.
    mark = "" if arguments.table else "; "
    as_text = printing.table if arguments.table else printing.zone_file
    print("\n".join(as_text(zone, rrsets) for zone, rrsets in zones.items()), end="")
    for line in [*notes, *(printing.HINTS if arguments.table else ())]:
        print(f"{mark}{line}")
    return OK


def _print_ready(arguments: argparse.Namespace) -> int:
    agent = _agent(arguments)
    key = readiness.place_of(agent, arguments.name, arguments.type)
    found = readiness.wait(agent, key, arguments.value, arguments.wait)
    said = {"ready": found.ready, "at": found.at, "text": found.text()}
    print(json.dumps(said, indent=1) if arguments.json else found.text())
    return OK if found.ready else NOT_YET


def _print_status(arguments: argparse.Namespace) -> int:
    status = text.status(memory.load(arguments.state))
    print(json.dumps(status, indent=1) if arguments.json else "\n".join(text.status_lines(status)))
    return ERROR if status["problems"] else OK


def _print_address(report: Report, as_json: bool) -> int:
    found = report.found
    if found is None:
        return ERROR
    if as_json:
        print(json.dumps(text.as_json(report)["address"], indent=1))
    else:
        print(f"IPv4: {found.ipv4} (from {found.ipv4_source})" if found.ipv4 else f"IPv4: {found.ipv4_problem}")
        print(f"IPv6: {found.ipv6 or found.ipv6_problem}")
    return OK if found.ipv4 or found.ipv6 else ERROR


def main(argv: list[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    arguments = _parser().parse_args(argv)
    # octoDNS reports its inner steps as warnings; what matters comes as an exception.
    logging.basicConfig(level=logging.CRITICAL)
    forget_old_builds(__file__)
    let_all_read(__file__)
    if arguments.command == "status":
        return _print_status(arguments)
    if arguments.command == "poke":
        return _poke()
    if arguments.command == "hooks":
        return _hooks(arguments)
    try:
        if arguments.command == "serve":
            return _serve(arguments)
        if arguments.command == "records":
            return _print_records(arguments)
        if arguments.command == "ready":
            return _print_ready(arguments)
        report = _run(arguments)
    except AgentError as error:
        report = Report(errors=[error])
    except PermissionError as error:
        report = Report(errors=[AgentError(f"{error}.", "Run it as root: the credentials are readable by root only.")])
    except OSError as error:
        report = Report(errors=[AgentError(f"{error}.", "See the disk with `df` and `mount`, then type it once more.")])
    if arguments.command == "address" and not report.errors:
        return _print_address(report, arguments.json)
    if arguments.json:
        print(json.dumps(text.as_json(report), indent=1))
    else:
        said = text.lines(report)
        if not said and arguments.command != "check":
            said = ["Nothing to do: all records are right."]
        if said:
            print("\n".join(said))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
