"""The looks of the resident service: what becomes of one that brings news, and of one that breaks off.

The service outlives a mistake in the agent. Without this it would start again every five seconds, read the provider
each time and remember nothing.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from hearthmail.ddns import changes, outages, publish
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.changes import Addresses
from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.outages import Outage
from hearthmail.ddns.report import ERROR, Report
from hearthmail.ddns.schedule import Due


def to_journal(text: str) -> None:
    """Write to standard error, which systemd keeps in the journal."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Looks:
    """What the service does whenever it is time: see `hearthmail.ddns.daemon.serve`.

    :param log: gets the traceback of a look that broke off.
    """

    agent: Agent
    log: Callable[[str], None] = to_journal
    _broken: dict[Due, Outage] = field(default_factory=dict, init=False)
    _retry_at: float | None = field(default=None, init=False)
    # What those of ddns.d know, if they could not be told what came after it.
    _known: Addresses | None = field(default=None, init=False)

    def look(self, due: Due, happened: bool) -> Report:
        """Look once. Nothing is raised: what goes wrong is in the report.

        A look that broke off by a mistake of the agent is made again after a pause, as a provider that failed is asked
        again (see `outages`); those of the other kind go on meanwhile.

        :param happened: there is a sign of a change: no pause is kept.
        """
        if not happened and not outages.is_over(self._broken.get(due), self.agent.now()):
            return Report(repeated=ERROR, retry_at=self._next())
        try:
            report = self.agent.check(full=due == "full", at_once=happened)
        except AgentError as error:
            return Report(errors=[error])
        except OSError as error:
            # A disk that is full or read-only, no room for a process: told, and tried again by the next look.
            return Report(errors=[AgentError(f"The look could not be made: {error}.", "See the disk and the memory.")])
        except Exception as error:  # noqa: BLE001 - the last resort: it is told, and red in `status`
            report = self._broke_off(due, error)
        else:
            self._broken.pop(due, None)
            self._retry_at = report.retry_at
            self._announce(report)
        report.retry_at = self._next()
        return report

    def _announce(self, report: Report) -> None:
        """Tell those of ddns.d of a change; if there is no room for the note, with the next look."""
        if report.moved is None:
            return
        before, after = report.moved
        before = self._known or before
        try:
            changes.announce(before, after)
            self._known = None
        except OSError as error:
            self._known = before
            problem = f"The programs of {changes.HOOKS_PATH} cannot be told of a change: {error}."
            report.errors.append(AgentError(problem, f"See the room in {changes.NOTES_PATH.parent} with `df`."))

    def _broke_off(self, due: Due, error: Exception) -> Report:
        """Tell of it, with its traceback, and have `status` tell of it. The same one again is not told again."""
        mistake = AgentError(
            f"A look broke off by a mistake of the agent: {type(error).__name__}: {self._hidden(str(error))[:300]}.",
            "It is made again by itself. If it stays so, report it with what `journalctl -u hearth-ddns` shows.",
        )
        before = self._broken.get(due)
        self._broken[due] = outages.failed(before, mistake, self.agent.now(), self.agent.chance())
        report = Report(errors=[mistake])
        # What made the look break off may be in the way of this, too; it is told below all the same.
        with contextlib.suppress(Exception):
            self.agent.remember_mistake(report)
        if before and before.problem == mistake.problem:
            return Report(repeated=ERROR)
        self.log(self._hidden("".join(traceback.format_exception(error))).rstrip())
        return report

    def _hidden(self, text: str) -> str:
        """A text of a library without any provider's credentials."""
        for provider in self.agent.config.domains.values():
            text = publish.without_secrets(provider, text)
        return text

    def _next(self) -> float | None:
        """When a whole look is due for what waits."""
        broken = self._broken.get("full")
        times = [self._retry_at, broken.until if broken else None]
        return min((at for at in times if at is not None and at > self.agent.now()), default=None)
