"""What to do about what was found. Nothing here looks at the machine or its clock: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hearthmail.probe import letters
from hearthmail.probe.finding import CHAIN, FLUSH, GREEN, REBOOT, RED, RESTART, WAIT, WAKE, Finding
from hearthmail.probe.memory import Fault, Letter, Memory, Note

HOUR, DAY = 3600.0, 86400.0
# A part that nothing mends is told when it has been red for so many rounds: one may be a passing moment.
PATIENCE = 2
# So many rounds must a part be well before "well again" is told; more, when it was told before on the same day.
WELL, WELL_AGAIN = 2, 30
# Restarts of one unit within an hour that are still no matter for a person.
MANY = 3
# From then on a unit is restarted no more often than this: each restart cuts off those who are being served.
SPACING = 300.0
# Reboots within a day that are still no matter for a person, and those after which there are no more on that day.
ONE_REBOOT, MOST_REBOOTS = 1, 3
# When all repairs have failed, the unit is restarted once more after so long: what stood in its way may be gone.
AGAIN = 900.0
# Parts without which mail is put off, ours or what leaves ("dns agent" is red where the line is away). Postfix waits
# for as long again as a message has waited already, up to half an hour; when they are well again, it need not.
HOLD_MAIL = ("message", "resolver", "dns agent")
# Mail for mailboxes here that was put off though the probe's own arrives: seconds from one try of it to the next, how
# often a message is tried so before it is left to Postfix's own pauses, and how many at once (each is a command).
MAIL_AGAIN, MAIL_TRIES, MOST_MAIL = 300.0, 6, 50
# Letters that are kept when none leaves.
MOST_LETTERS = 10


@dataclass(frozen=True)
class Restart:
    """Restart units, one after the other."""

    units: tuple[str, ...]


@dataclass(frozen=True)
class Wake:
    """Let the stopped processes of units go on."""

    units: tuple[str, ...]


@dataclass(frozen=True)
class Flush:
    """Have Postfix try at once what it has put off."""


@dataclass(frozen=True)
class TryAgain:
    """Have Postfix try these messages at once, by their queue ids."""

    messages: tuple[str, ...]


@dataclass(frozen=True)
class Close:
    """Stop units until they can work again."""

    units: tuple[str, ...]


@dataclass(frozen=True)
class Open:
    """Start units that were stopped so."""

    units: tuple[str, ...]


@dataclass(frozen=True)
class Reboot:
    """Restart the machine."""


Action = Restart | Wake | Flush | TryAgain | Reboot | Close | Open


@dataclass(frozen=True)
class Rules:
    """What of the configuration matters here."""

    hostname: str
    chain: tuple[str, ...] = ()
    reboot: bool = True


@dataclass
class _Round:
    """What comes together in one round."""

    rules: Rules
    memory: Memory
    now: float
    busy: str
    no_room: bool
    restarted: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    flush: bool = False
    mail: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    reboot: bool = False
    notes: list[Note] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.notes.append(Note(self.now, text))

    def no_reboot(self) -> str:
        """Why the machine is not restarted now; empty when it may be."""
        if not self.rules.reboot:
            return "watchdog_reboot is false"
        if self.busy:
            return self.busy
        if self.now - self.memory.last_reboot < HOUR:
            return "it was rebooted within the last hour"
        if len(_recent(self.memory.reboots, self.now, DAY)) >= MOST_REBOOTS:
            return f"it was rebooted {MOST_REBOOTS} times within a day"
        return ""

    def too_often(self, units: Sequence[str]) -> bool:
        """Whether a restart of them has to wait, for they are restarted again and again."""
        every = [_recent(self.memory.restarts.get(unit, ()), self.now, HOUR) for unit in units]
        return any(len(times) > MANY and self.now - max(times) < SPACING for times in every)

    def step(self, finding: Finding, fault: Fault) -> tuple[Fault, bool]:
        """Take the next step of a repair; tells whether a person is needed now."""
        if fault.rounds <= finding.hold:
            return fault, False
        wanted = finding.repair
        if self.no_room:
            # No restart makes room. A service may have died of it, though; the rest waits until there is room.
            wanted = tuple(step for step in wanted if step in (WAKE, RESTART))
        left = [step for step in wanted if step not in fault.steps and (step != CHAIN or self.rules.chain)]
        if not left:
            self._once_more(finding, fault)
            tried = [step for step in fault.steps if step != WAIT]
            return fault, bool(tried) or fault.rounds - finding.hold >= PATIENCE
        step = left[0]
        if step in (RESTART, CHAIN) and self.too_often(self.rules.chain if step == CHAIN else [finding.unit]):
            # `flapping` tells a person.
            return fault, False
        if step == REBOOT:
            # Not now, for whatever reason: a person hears of it. It may still come later, when the reason is gone.
            if self.no_reboot():
                self._once_more(finding, fault)
                return fault, True
            self.reboot = True
            self.say(f"Rebooted, because {finding.part} stayed red: {finding.reason}")
        elif step == CHAIN:
            self.restarted += self.rules.chain
            self.say(f"Restarted {', '.join(self.rules.chain)}, because {finding.part} is red: {finding.reason}")
        elif step == RESTART:
            self.restarted.append(finding.unit)
            self.say(f"Restarted {finding.unit}, because {finding.part} is red: {finding.reason}")
        elif step == WAKE:
            self.woken += [finding.unit] if finding.unit else self.rules.chain
            self.say(f"Woke {finding.unit or 'the mail services'}, because {finding.part} is red: {finding.reason}")
        elif step == FLUSH:
            self.flush = True
            self.say(f"Had Postfix try again what it had put off, because {finding.part} is red: {finding.reason}")
        return replace(fault, steps=(*fault.steps, step), tried=self.now), False

    def _once_more(self, finding: Finding, fault: Fault) -> None:
        """What no repair has mended may be mended by the same repair later."""
        if not finding.unit or not finding.repair:
            return
        last = max(fault.tried, self.memory.retried.get(finding.unit, 0.0))
        if self.now - last >= AGAIN and not self.too_often([finding.unit]):
            self.again.append(finding.unit)


def _recent(times: Sequence[float], now: float, span: float) -> tuple[float, ...]:
    return tuple(at for at in times if now - at < span)


def flapping(memory: Memory, now: float) -> list[Finding]:
    """Name what is restarted again and again: each time it helps, but not for long."""
    found = []
    for unit, times in sorted(memory.restarts.items()):
        recent = len(_recent(times, now, HOUR))
        if recent > MANY:
            reason = f"restarted or woken {recent} times within an hour"
            found.append(Finding(f"restarts of {unit}", RED, reason, f"journalctl -u {unit} --since -1h"))
    reboots = len(_recent(memory.reboots, now, DAY))
    if reboots > ONE_REBOOT and now - memory.last_reboot < HOUR:
        reason = f"the probe has rebooted the box {reboots} times within a day"
        if reboots >= MOST_REBOOTS:
            reason += ", and does not do it again on this day"
        found.append(Finding("reboots", RED, reason, "hearth-probe status; journalctl -b -1 -u hearth-probe -n 50"))
    return found


def count_restarts(memory: Memory, counts: Mapping[str, int], now: float) -> Memory:
    """Take over what systemd has restarted by itself (NRestarts) since the last round."""
    restarts, notes = dict(memory.restarts), list(memory.notes)
    for unit, count in counts.items():
        # It counts anew when somebody starts the unit by hand, and at boot. What was before us is no news.
        before = memory.counted.get(unit, count)
        new = count - before if count >= before else count
        if new > 0:
            restarts[unit] = (*restarts.get(unit, ()), *(now,) * min(new, MANY + 1))
            times = "once" if new == 1 else f"{new} times"
            notes.append(Note(now, f"{unit} ended unasked and systemd started it again ({times})."))
    return replace(memory, restarts=restarts, notes=tuple(notes), counted={**memory.counted, **counts})


def _no_later_than(memory: Memory, now: float) -> Memory:
    """Bring times that lie in the future (the clock was wrong) to now: a reboot "tomorrow" would forbid all others."""
    return replace(
        memory,
        faults={
            part: replace(one, since=min(one.since, now), tried=min(one.tried, now), told=min(one.told, now))
            for part, one in memory.faults.items()
        },
        restarts={unit: tuple(min(at, now) for at in times) for unit, times in memory.restarts.items()},
        tellings={part: tuple(min(at, now) for at in times) for part, times in memory.tellings.items()},
        notes=tuple(replace(note, at=min(note.at, now)) for note in memory.notes),
        stalled={key: min(at, now) for key, at in memory.stalled.items()},
        retried={unit: min(at, now) for unit, at in memory.retried.items()},
        reboots=tuple(min(at, now) for at in memory.reboots),
        mail_tried_at=min(memory.mail_tried_at, now),
    )


def _observe(this: _Round, finding: Finding, fault: Fault | None) -> tuple[Fault | None, bool]:
    """One part's fault after this round, and whether it needs a person."""
    if not finding.known:
        return fault, False
    if finding.level == RED:
        seen = fault if fault and fault.rounds else replace(fault or Fault(this.now), since=this.now, steps=())
        seen = replace(seen, rounds=seen.rounds + 1, well=0, reason=finding.reason)
        return this.step(finding, seen)
    if fault is None or not fault.told:
        return None, False
    return replace(fault, rounds=0, well=fault.well + 1), False


def _is_well(fault: Fault, told: int) -> bool:
    return fault.well >= (WELL if told <= 1 else WELL_AGAIN)


def decide(
    rules: Rules, memory: Memory, findings: Sequence[Finding], now: float, busy: str = ""
) -> tuple[Memory, list[Action]]:
    """Decide about one round.

    :param now: seconds of the Unix clock.
    :param busy: what a reboot would cut off; empty for nothing.
    :returns: the memory to be kept, with the letters that are to leave, and what to do now.
    """
    memory = _no_later_than(memory, now)
    this = _Round(rules, memory, now, busy, any(finding.no_room for finding in findings))
    this.close = tuple(sorted({finding.close for finding in findings if finding.close}))
    this.open = tuple(unit for unit in memory.closed if unit not in this.close)
    for unit in this.close:
        if unit not in memory.closed:
            this.say(f"Stopped {unit} for want of inodes.")
    for unit in this.open:
        this.say(f"Started {unit} again: there are inodes.")
    faults, needy = {}, []
    for finding in findings:
        before = memory.faults.get(finding.part)
        fault, needs_person = _observe(this, finding, before)
        if fault:
            faults[finding.part] = fault
        if finding.part in HOLD_MAIL and finding.known and finding.level != RED and before and before.rounds:
            this.flush = True
        if needs_person:
            needy.append(finding)
    for part in memory.faults.keys() - {finding.part for finding in findings}:
        # Nothing to say about it any more: it is well (restarts that became rare), or gone.
        fault, _ = _observe(this, Finding(part, GREEN, ""), memory.faults[part])
        if fault:
            faults[part] = fault
    this.mail = () if this.reboot else _mail_to_try(memory, findings, now)
    tellings = {
        part: recent
        for part, times in memory.tellings.items()
        if (recent := tuple(at for at in times if now - at < DAY))
    }
    mail: list[Letter] = []
    due = [finding for finding in needy if now - faults[finding.part].told >= DAY or not faults[finding.part].told]
    if due:
        # One letter, with everything that is wrong: what was told a while ago too.
        mail.append(letters.fault(rules.hostname, now, due, needy, {one.part: faults[one.part] for one in needy}))
        for finding in due:
            faults[finding.part] = replace(faults[finding.part], told=now)
            tellings[finding.part] = (*tellings.get(finding.part, ()), now)
    told = {part: fault for part, fault in faults.items() if fault.told}
    if told and all(_is_well(fault, len(tellings.get(part, ()))) for part, fault in told.items()):
        mail.append(letters.well_again(rules.hostname, now, told))
        for part in told:
            del faults[part]
    restarts = _restarts(memory, [*this.restarted, *this.woken], now)
    reboots = _recent(memory.reboots, now, DAY)
    return (
        replace(
            memory,
            faults=faults,
            closed=this.close,
            restarts=restarts,
            tellings=tellings,
            notes=tuple(note for note in memory.notes if now - note.at < DAY) + tuple(this.notes),
            letters=(memory.letters + tuple(mail))[-MOST_LETTERS:],
            reboots=(*reboots, now) if this.reboot else reboots,
            retried={unit: at for unit, at in memory.retried.items() if now - at < HOUR}
            | dict.fromkeys(this.again, now),
            mail_tried=_mail_tried(memory, findings, this.mail),
            mail_tried_at=now if this.mail else memory.mail_tried_at,
        ),
        _actions(this),
    )


def _mail_to_try(memory: Memory, findings: Sequence[Finding], now: float) -> tuple[str, ...]:
    """What was put off for a mailbox here and can arrive: the probe's own message does.

    Postfix lets a message wait for as long again as it is old, up to half an hour, also one that is old only because
    the clock was late when it came. What is for other servers is left to it: they do not get well by our asking.
    """
    arrives = any(one.part == "message" and one.known and one.level == GREEN for one in findings)
    if not arrives or now - memory.mail_tried_at < MAIL_AGAIN:
        return ()
    tries = {name: memory.mail_tried.get(name, 0) for one in findings for name in one.put_off}
    return tuple(sorted((name for name in tries if tries[name] < MAIL_TRIES), key=tries.__getitem__)[:MOST_MAIL])


def _mail_tried(memory: Memory, findings: Sequence[Finding], tried: Sequence[str]) -> dict[str, int]:
    """How often each message that still waits was tried so, with this round."""
    waiting = [name for one in findings for name in one.put_off]
    tries = {name: memory.mail_tried.get(name, 0) + (name in tried) for name in waiting}
    return {name: count for name, count in tries.items() if count}


def _restarts(memory: Memory, restarted: Sequence[str], now: float) -> dict[str, tuple[float, ...]]:
    """Who was restarted within the last hour; once a round is enough to count."""
    new = {unit: (*memory.restarts.get(unit, ()), now) for unit in restarted}
    kept = {unit: tuple(at for at in times if now - at < HOUR) for unit, times in {**memory.restarts, **new}.items()}
    return {unit: times for unit, times in kept.items() if times}


def _actions(this: _Round) -> list[Action]:
    """A reboot makes all the rest needless. The chain keeps its order."""
    if this.reboot:
        return [Reboot()]
    units = dict.fromkeys(unit for unit in (*this.restarted, *this.again) if unit not in this.close)
    ordered = [unit for unit in this.rules.chain if unit in units]
    ordered += [unit for unit in units if unit not in ordered]
    # A restart ends what a wake-up would let go on.
    woken = tuple(unit for unit in dict.fromkeys(this.woken) if unit not in units)
    actions: list[Action] = [Wake(woken)] if woken else []
    if ordered:
        actions.append(Restart(tuple(ordered)))
    if this.close:
        # In each round: somebody may have started it.
        actions.append(Close(this.close))
    if this.open:
        actions.append(Open(this.open))
    # What was put off while a service was away is tried at once, not in five minutes.
    if this.flush or any(unit in this.rules.chain for unit in (*ordered, *woken, *this.open)):
        actions.append(Flush())
    elif this.mail:
        actions.append(TryAgain(this.mail))
    return actions
