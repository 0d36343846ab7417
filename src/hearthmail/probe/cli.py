"""The command `hearth-probe`.

Exit codes of `check` and `status`: 0 green, 1 yellow, 2 red. `run` ends with 0 when the round was made, whatever it
found.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hearthmail.files import replace_file
from hearthmail.probe import box, hung, letters, text
from hearthmail.probe import config as configuration
from hearthmail.probe import memory as remembering
from hearthmail.probe.act import act
from hearthmail.probe.config import Config, ConfigError
from hearthmail.probe.decide import Open, Reboot, Rules, Wake, count_restarts, decide, flapping
from hearthmail.probe.finding import RED, YELLOW, Finding, worst
from hearthmail.probe.look import look, units_of
from hearthmail.probe.memory import Memory, Note

# Seconds for the answer of the dead man's switch.
PING_TIME = 10


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hearth-probe",
        description="Looks whether mail flows, mends what it can, and tells a person of the rest.",
        epilog="Exit codes of check and status: 0 green, 1 yellow, 2 red.",
    )
    parser.add_argument("--config", type=Path, default=configuration.CONFIG_PATH, help="default: %(default)s")
    parser.add_argument("--parts", type=Path, default=configuration.FRAGMENTS_PATH, help="default: %(default)s")
    parser.add_argument("--state", type=Path, default=remembering.FOLDER, help="default: %(default)s")
    parser.add_argument("--run", type=Path, default=remembering.RUN_FOLDER, help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="one round: look, mend, tell, remember (what the timer starts each minute)")
    for name, explanation in (
        ("check", "look now, change nothing and tell nobody"),
        ("status", "what the last round has found; needs no rights"),
    ):
        commands.add_parser(name, help=explanation).add_argument("--json", action="store_true", help="answer as JSON")
    return parser


def _ping(url: str) -> Finding | None:
    """Tell the dead man's switch that we live; a finding when that fails."""
    # Here, because it is a third of what a round has to load, and few use it.
    import urllib.request

    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("it is no address of the web")
        with urllib.request.build_opener().open(url, timeout=PING_TIME):
            return None
    except (OSError, ValueError) as error:
        return Finding("ping", YELLOW, f"watchdog_ping_url cannot be reached: {error}", "is the line up?")


def _send_letters(config: Config, memory: Memory) -> Memory:
    """Send what is to be told. What does not leave is kept; the first failure ends the try."""
    if not config.tell:
        return replace(memory, letters=())
    left = list(memory.letters)
    while left and not letters.send(left[0], config.hostname, config.tell):
        del left[0]
    return replace(memory, letters=tuple(left))


def run_round(config: Config, folder: Path, run_folder: Path) -> None:
    """Look, decide, act, tell, remember."""
    now = time.time()
    units = box.read_units(units_of(config))
    memory = remembering.load(folder, run_folder, now)
    counts = {unit: int(seen["NRestarts"]) for unit, seen in units.items() if seen.get("NRestarts", "").isdigit()}
    memory = count_restarts(memory, counts, now)
    seen = hung.look(units)
    # At once: all the questions that follow would have to wait for their time-outs.
    if seen.stopped:
        act([Wake(tuple(seen.stopped))])
    closed = {one.close for one in box.check_room(config, memory.closed)}
    if opened := tuple(unit for unit in memory.closed if unit not in closed):
        act([Open(opened)])
    memory = replace(memory, stalled=hung.remember(seen, memory.stalled, now))
    findings = look(config, now, units, seen, memory.closed)
    findings += hung.judge_waiting(seen, memory.stalled, now) + flapping(memory, now)
    busy = box.busy()
    memory, actions = decide(Rules(config.hostname, config.chain, config.reboot), memory, findings, now, busy)
    # Before anything is done: a reboot that is not remembered would be done again.
    unwritten = remembering.save(memory, folder, run_folder)
    if unwritten:
        findings.append(Finding("memory", RED, unwritten, f"df -h {folder}", no_room=True))
        actions = [action for action in actions if not isinstance(action, Reboot)]
    for failed in act(actions):
        print(failed, file=sys.stderr)
        memory = replace(memory, notes=(*memory.notes, Note(now, failed)))
    memory = _send_letters(config, memory)
    if config.ping_url and worst(findings) != RED and (missed := _ping(config.ping_url)):
        findings.append(missed)
    remembering.save(memory, folder, run_folder)
    status = json.dumps(text.as_value(findings, memory, now, busy), indent=1) + "\n"
    try:
        replace_file(run_folder / text.STATUS_FILE, status, 0o644)
    except OSError as error:
        print(f"the status cannot be written: {error}", file=sys.stderr)
    for finding in findings:
        if finding.level == RED:
            print(f"{finding.part}: {finding.reason}", file=sys.stderr)


def _print(status: dict[str, object], as_json: bool) -> int:
    print(json.dumps(status, indent=1) if as_json else "\n".join(text.lines(status)))
    return text.exit_code(str(status["level"]))


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    arguments = _parser().parse_args(words)
    if arguments.command == "status":
        return _print(text.read(arguments.run / text.STATUS_FILE, time.time()), arguments.json)
    try:
        config = configuration.load(arguments.config, arguments.parts)
        # A round takes up to a few minutes when much is wrong; a check waits for it.
        with remembering.lock(arguments.run, 5 if arguments.command == "run" else 120) as had:
            if not had:
                print("Another round of hearth-probe is still at work.", file=sys.stderr)
                return text.exit_code(RED)
            if arguments.command == "run":
                run_round(config, arguments.state, arguments.run)
                return 0
            now = time.time()
            units = box.read_units(units_of(config))
            found = look(config, now, units, hung.look(units))
            return _print(text.as_value(found, Memory(), now, box.busy()), arguments.json)
    except (ConfigError, PermissionError) as error:
        print(error, file=sys.stderr)
        return text.exit_code(RED)


if __name__ == "__main__":
    sys.exit(main())
