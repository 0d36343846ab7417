"""Do what was decided. Every command has an end; what fails is told as a text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from hearthmail.probe.commands import Done, run
from hearthmail.probe.decide import Action, Close, Flush, Open, Reboot, Restart, TryAgain, Wake

# Seconds. The units' TimeoutStopSec is 15 (role watchdog): a stop that hangs, then SIGTERM with SIGCONT behind it (so a
# stopped process gets it too, systemd.kill(5)), then SIGKILL: 45 at most.
RESTART_TIME = 60
# Seconds for all messages that are to be tried again: the rest has its turn the next time.
MAIL_TIME = 30
Run = Callable[[list[str], float], Done]


def restart(unit: str, command: Run) -> str:
    """Restart a unit, also one that systemd has given up; gives why that failed."""
    command(["systemctl", "reset-failed", unit], 10)
    done = command(["systemctl", "restart", unit], RESTART_TIME)
    return f"systemctl restart {unit}: {done.said}" if done.code else ""


def act(actions: Iterable[Action], command: Run = run, clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Do all of it, in this order; gives what failed."""
    failed = []
    for action in actions:
        match action:
            case Restart(units):
                failed += [restart(unit, command) for unit in units]
            case Wake(units):
                for unit in units:
                    done = command(["systemctl", "kill", "--signal=CONT", unit], 10)
                    failed.append(f"systemctl kill --signal=CONT {unit}: {done.said}" if done.code else "")
            case Close(units):
                for unit in units:
                    done = command(["systemctl", "stop", unit], RESTART_TIME)
                    failed.append(f"systemctl stop {unit}: {done.said}" if done.code else "")
            case Open(units):
                for unit in units:
                    done = command(["systemctl", "start", unit], RESTART_TIME)
                    failed.append(f"systemctl start {unit}: {done.said}" if done.code else "")
            case Flush():
                done = command(["postqueue", "-f"], 15)
                failed.append(f"postqueue -f: {done.said}" if done.code else "")
            case TryAgain(messages):
                end = clock() + MAIL_TIME
                for message in messages:
                    if clock() > end:
                        break
                    done = command(["postqueue", "-i", message], 15)
                    if done.code:
                        failed.append(f"postqueue -i {message}: {done.said}")
                        break
            case Reboot():
                done = command(["systemctl", "reboot"], 30)
                failed.append(f"systemctl reboot: {done.said}" if done.code else "")
    return [text for text in failed if text]
