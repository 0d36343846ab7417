"""The escalation, round by round, by a clock of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from hearthmail.probe.decide import (
    AGAIN,
    HOUR,
    MAIL_AGAIN,
    MAIL_TRIES,
    MANY,
    MOST_MAIL,
    MOST_REBOOTS,
    SPACING,
    WELL_AGAIN,
    Action,
    Close,
    Flush,
    Open,
    Reboot,
    Restart,
    Rules,
    TryAgain,
    Wake,
    count_restarts,
    decide,
    flapping,
)
from hearthmail.probe.finding import CHAIN, FLUSH, GREEN, REBOOT, RED, RESTART, WAIT, WAKE, YELLOW, Finding
from hearthmail.probe.memory import Fault, Letter, Memory, dump, parse

START = 1_800_000_000.0
CHAIN_UNITS = ("unbound.service", "dovecot.service", "postfix.service")
RULES = Rules("mail.hearth.example", CHAIN_UNITS)
HUNG = Finding("dovecot", RED, "it hangs", "journalctl", "dovecot.service", (RESTART, CHAIN, REBOOT))
WELL = Finding("dovecot", GREEN, "IMAP answers")
LOST = Finding("message", RED, "did not arrive", repair=(CHAIN, REBOOT))
FULL = Finding("room /", RED, "1 % free", "make room", no_room=True)
OLD = Finding("queue", RED, "5 waiting, the oldest for 5 h", "postqueue -p")


def green(finding: Finding) -> Finding:
    return Finding(finding.part, GREEN, "well")


@dataclass
class World:
    """Rounds of a minute."""

    rules: Rules = RULES
    memory: Memory = field(default_factory=Memory)
    now: float = START
    letters: list[Letter] = field(default_factory=list)
    done: list[list[Action]] = field(default_factory=list)

    def round(self, *findings: Finding, busy: str = "") -> list[Action]:
        """One round, as `run_round` does it: what is to be told leaves, the memory goes through its file."""
        self.now += 60
        all_of_them = [*findings, *flapping(self.memory, self.now)]
        memory, actions = decide(self.rules, self.memory, all_of_them, self.now, busy)
        self.letters += memory.letters
        self.memory = parse(dump(replace(memory, letters=())))
        self.done.append(actions)
        return actions

    def rounds(self, findings: Sequence[Finding], count: int) -> None:
        for _ in range(count):
            self.round(*findings)

    def count(self, kind: Callable[[Action], bool]) -> int:
        return sum(kind(action) for actions in self.done for action in actions)


def is_reboot(action: Action) -> bool:
    return isinstance(action, Reboot)


def test_green_rounds_do_nothing() -> None:
    world = World()
    world.rounds([WELL, green(LOST)], 60)
    assert world.done == [[]] * 60
    assert world.letters == []
    assert world.memory == Memory()


def test_a_fault_that_a_restart_mends_is_a_note_and_no_mail() -> None:
    world = World()
    assert world.round(HUNG) == [Restart(("dovecot.service",)), Flush()]
    assert world.round(WELL) == []
    world.rounds([WELL], 60)
    assert world.letters == []
    assert [note.text for note in world.memory.notes] == ["Restarted dovecot.service, because dovecot is red: it hangs"]
    world.now += 86400
    world.round(WELL)
    assert world.memory.notes == ()


def test_what_is_stopped_for_want_of_inodes_is_started_again_and_not_restarted_meanwhile() -> None:
    world = World()
    none = replace(FULL, close="postfix.service")
    assert world.round(none) == [Close(("postfix.service",))]
    assert world.memory.closed == ("postfix.service",)
    actions = world.round(none, LOST)
    assert Close(("postfix.service",)) in actions
    assert not any("postfix.service" in action.units for action in actions if isinstance(action, Restart | Open))
    assert world.round(green(FULL)) == [Open(("postfix.service",)), Flush()]
    assert world.memory.closed == ()
    assert world.round(green(FULL)) == []


def test_restart_chain_reboot_person() -> None:
    world = World()
    assert world.round(HUNG) == [Restart(("dovecot.service",)), Flush()]
    assert world.round(HUNG) == [Restart(CHAIN_UNITS), Flush()]
    assert world.round(HUNG) == [Reboot()]
    assert world.memory.last_reboot == world.now
    assert world.letters == []
    assert world.round(HUNG) == []
    assert [letter.subject for letter in world.letters] == ["mail.hearth.example: dovecot needs you"]
    body = world.letters[0].body
    assert "a restart of the service, a restart of all mail services, a reboot" in body
    assert "what to do: journalctl" in body


def test_sixty_red_rounds_are_one_mail_and_one_reboot() -> None:
    world = World()
    world.rounds([HUNG, LOST, OLD], 60)
    # The queue, which nothing mends, after two rounds; the others once all was tried.
    assert [letter.subject.split(": ")[1] for letter in world.letters] == [
        "queue needs you",
        "dovecot, message needs you",
    ]
    assert world.count(is_reboot) == 1


def test_it_is_told_again_after_a_day_and_once_when_well() -> None:
    world = World()
    world.rounds([OLD], 24 * 60 - 5)
    assert len(world.letters) == 1
    world.rounds([OLD], 60)
    assert len(world.letters) == 2
    world.rounds([green(OLD)], 60)
    assert [letter.subject for letter in world.letters[2:]] == ["mail.hearth.example: all is well again"]
    assert world.memory.faults == {}


def test_one_red_round_is_not_told() -> None:
    world = World()
    for _ in range(30):
        world.round(OLD)
        world.round(green(OLD))
    assert world.letters == []


def test_all_that_was_told_must_be_well() -> None:
    world = World()
    world.rounds([OLD, green(FULL)], 3)
    world.rounds([OLD, FULL], 3)
    world.rounds([green(OLD), FULL], 5)
    assert len(world.letters) == 2
    world.rounds([green(OLD), green(FULL)], 5)
    assert len(world.letters) == 3
    assert "queue: well again" in world.letters[2].body
    assert "room /: well again" in world.letters[2].body


def test_a_part_that_comes_and_goes_is_not_told_each_time() -> None:
    world = World()
    for _ in range(60):
        world.rounds([OLD], 3)
        world.rounds([green(OLD)], 3)
    # Told, well, told once more; from then on it must stay well for half an hour.
    assert len(world.letters) == 3


def test_nothing_is_rebooted_while_a_backup_or_apt_runs() -> None:
    world = World()
    for _ in range(10):
        world.round(HUNG, busy="apt is at work")
    assert world.count(is_reboot) == 0
    assert len(world.letters) == 1
    assert world.round(HUNG) == [Reboot()]


def test_at_most_one_reboot_an_hour() -> None:
    world = World()
    world.rounds([HUNG], 3)
    assert world.done[-1] == [Reboot()]
    # A new fault, ten minutes later.
    world.rounds([WELL], 10)
    world.rounds([HUNG], 40)
    assert world.count(is_reboot) == 1
    world.rounds([HUNG], 20)
    assert world.count(is_reboot) == 2


def test_the_reboot_can_be_forbidden() -> None:
    world = World(rules=replace(RULES, reboot=False))
    world.rounds([HUNG], 120)
    assert world.count(is_reboot) == 0
    assert len(world.letters) == 1


def test_what_no_repair_mended_is_tried_again_now_and_then() -> None:
    world = World()
    world.rounds([HUNG], 60)
    later = [actions for actions in world.done[4:] if actions]
    assert len(later) == 3, "each quarter of an hour, not each minute"
    assert all(actions == [Restart(("dovecot.service",)), Flush()] for actions in later)
    assert not flapping(world.memory, world.now), "these are no restarts that helped for a while"


def test_a_full_disk_is_told_and_never_restarted() -> None:
    world = World()
    world.rounds([FULL, LOST], 60)
    assert all(not actions for actions in world.done)
    assert len(world.letters) == 1


def test_a_service_that_died_of_a_full_disk_is_no_cause_for_a_reboot() -> None:
    world = World()
    world.rounds([FULL, HUNG], 30)
    assert world.count(is_reboot) == 0
    assert world.done[0] == [Restart(("dovecot.service",)), Flush()]
    # There is room again: the repair goes on.
    assert world.round(green(FULL), HUNG) == [Restart(CHAIN_UNITS), Flush()]


def test_the_message_alone_restarts_the_chain_first() -> None:
    world = World()
    assert world.round(WELL, LOST) == [Restart(CHAIN_UNITS), Flush()]
    assert world.round(WELL, LOST) == [Reboot()]


def test_mail_that_was_put_off_is_tried_again_first() -> None:
    world = World()
    put_off = replace(LOST, repair=(FLUSH, CHAIN, REBOOT))
    assert world.round(WELL, put_off) == [Flush()]
    assert world.round(WELL, put_off) == [Restart(CHAIN_UNITS), Flush()]


def test_mail_that_was_put_off_is_tried_again_when_it_can_be_delivered_again() -> None:
    """Nobody restarted anything: a person, or the line, has mended it."""
    resolver = Finding("resolver", RED, "gets no answer from the world's name servers")
    world = World()
    world.round(resolver, WELL)
    assert world.round(replace(resolver, known=False), WELL) == []
    assert world.round(green(resolver), WELL) == [Flush()]
    assert world.round(green(resolver), WELL) == []


def test_what_was_put_off_for_a_mailbox_here_is_tried_again_while_ours_arrives() -> None:
    """Nothing is or was red: one delivery failed, and the message is old, or the clock was late when it came."""
    held = Finding("queue", GREEN, "2 waiting", put_off=("4bGx1", "4bGx2"))
    world = World()
    minutes = [world.round(green(LOST), held) for _ in range(11)]
    assert minutes == [[TryAgain(("4bGx1", "4bGx2"))] if n % (MAIL_AGAIN / 60) == 0 else [] for n in range(11)]
    assert (world.letters, world.memory.notes) == ([], ())
    world.round(green(LOST), green(held))
    assert world.memory.mail_tried == {}


def test_what_never_arrives_is_left_to_postfix_and_keeps_nothing_else_back() -> None:
    never = tuple(f"never {n}" for n in range(MOST_MAIL + 10))
    world = World()
    tried: list[str] = []
    for _ in range(100):
        tried += [
            name for one in world.round(green(LOST), Finding("queue", GREEN, "", put_off=never)) for name in told(one)
        ]
    assert {tried.count(name) for name in never} == {MAIL_TRIES}
    held = Finding("queue", GREEN, "", put_off=(*never, "4bGx1"))
    assert world.round(green(LOST), held) == [TryAgain(("4bGx1",))]
    # What was not tried yet comes before what was tried in vain.
    world = World()
    some = Finding("queue", GREEN, "", put_off=never[:MOST_MAIL])
    world.rounds([green(LOST), some], int(MAIL_AGAIN / 60))
    [again] = world.round(green(LOST), replace(some, put_off=(*some.put_off, "new")))
    assert "new" in told(again)


def told(action: Action) -> tuple[str, ...]:
    assert isinstance(action, TryAgain)
    assert len(action.messages) <= MOST_MAIL
    return action.messages


def test_a_flush_tries_it_too_and_a_reboot_does_not() -> None:
    held = Finding("queue", GREEN, "1 waiting", put_off=("4bGx1",))
    world = World()
    assert world.round(HUNG, green(LOST), held) == [Restart(("dovecot.service",)), Flush()]
    assert world.memory.mail_tried == {"4bGx1": 1}
    world = World()
    world.rounds([HUNG], 2)
    assert world.round(HUNG, green(LOST), held) == [Reboot()]
    assert world.memory.mail_tried == {}


def test_what_was_put_off_waits_while_ours_does_not_arrive() -> None:
    held = Finding("queue", GREEN, "1 waiting", put_off=("4bGx1",))
    for message in (LOST, replace(LOST, level=YELLOW), Finding("message", GREEN, "not tried", known=False), WELL):
        actions = World().round(message, held)
        assert not any(isinstance(action, TryAgain) for action in actions), message


def test_a_clock_that_was_late_or_early_does_not_keep_it_waiting() -> None:
    held = Finding("queue", GREEN, "1 waiting", put_off=("4bGx1",))
    early = World(memory=Memory(mail_tried_at=START + 86400))
    assert [early.round(green(LOST), held) for _ in range(6)] == [*[[]] * 5, [TryAgain(("4bGx1",))]]
    late = World(memory=Memory(mail_tried_at=START - 3600))
    assert late.round(green(LOST), held) == [TryAgain(("4bGx1",))]


def test_what_holds_no_mail_is_no_reason_to_try_it_again() -> None:
    world = World()
    world.round(FULL)
    world.round(OLD, green(FULL))
    assert world.round(green(OLD), green(FULL)) == []


def test_a_busy_queue_gets_a_round_more() -> None:
    world = World()
    busy = replace(LOST, repair=(WAIT, CHAIN, REBOOT))
    assert world.round(busy) == []
    assert world.letters == []
    assert world.round(busy) == [Restart(CHAIN_UNITS), Flush()]


def test_what_could_not_be_looked_at_changes_nothing() -> None:
    world = World()
    world.round(LOST)
    before = world.memory.faults["message"]
    world.round(Finding("message", YELLOW, "not tried", known=False))
    assert world.memory.faults["message"] == before
    assert world.letters == []


def test_several_faults_are_one_restart_each_in_the_order_of_the_chain() -> None:
    world = World()
    postfix = replace(HUNG, part="postfix", unit="postfix.service")
    assert world.round(postfix, HUNG) == [Restart(("dovecot.service", "postfix.service")), Flush()]
    assert world.round(postfix, HUNG) == [Restart(CHAIN_UNITS), Flush()]
    assert [letter.subject for letter in world.letters] == []


def test_a_unit_beside_the_chain_is_restarted_alone_then_told() -> None:
    world = World()
    agent = Finding("dns agent", RED, "does not run", unit="hearth-ddns.service", repair=(RESTART,))
    assert world.round(agent) == [Restart(("hearth-ddns.service",))]
    assert world.round(agent) == []
    assert len(world.letters) == 1
    assert world.count(is_reboot) == 0


def test_a_flapping_service_is_told_once() -> None:
    world = World()
    for _ in range(20):
        world.round(HUNG)
        world.rounds([WELL], 2)
    assert [letter.subject.split(": ")[1] for letter in world.letters] == ["restarts of dovecot.service needs you"]
    world.rounds([WELL], 70)
    assert [letter.subject.split(": ")[1] for letter in world.letters[1:]] == ["all is well again"]


def test_what_systemd_restarts_by_itself_counts_too() -> None:
    memory = count_restarts(Memory(), {"dovecot.service": 7}, START)
    assert memory.restarts == {}, "what was before us is no news"
    memory = count_restarts(memory, {"dovecot.service": 8}, START + 60)
    assert len(memory.restarts["dovecot.service"]) == 1
    assert memory.notes[-1].text == "dovecot.service ended unasked and systemd started it again (once)."
    # Somebody restarted it: systemd counts anew.
    memory = count_restarts(memory, {"dovecot.service": 0}, START + 120)
    assert len(memory.restarts["dovecot.service"]) == 1
    memory = count_restarts(memory, {"dovecot.service": 3}, START + 180)
    assert [finding.part for finding in flapping(memory, START + 180)] == ["restarts of dovecot.service"]
    assert flapping(memory, START + 3900) == []


def test_a_clock_that_was_wrong_forbids_no_reboot_for_ever() -> None:
    tomorrow = START + 86400
    world = World(memory=Memory(reboots=(tomorrow,), faults={"dovecot": Fault(tomorrow, 2, steps=(RESTART, CHAIN))}))
    world.rounds([HUNG], 62)
    assert world.count(is_reboot) == 1


def test_letters_are_kept_but_not_without_end() -> None:
    memory = Memory()
    for day in range(30):
        memory, _ = decide(RULES, memory, [OLD], START + day * 86400)
    assert len(memory.letters) == 10


def test_a_stopped_process_is_woken_then_its_service_restarted() -> None:
    world = World()
    stopped = Finding("processes of x", RED, "stopped: qmgr (7)", unit="postfix.service", repair=(WAKE, RESTART))
    silent = replace(HUNG, part="postfix", unit="postfix.service", repair=(WAKE, RESTART, CHAIN, REBOOT))
    assert world.round(stopped, silent) == [Wake(("postfix.service",)), Flush()]
    assert world.round(stopped, silent) == [Restart(("postfix.service",)), Flush()]
    assert world.letters == []


def test_one_that_is_stopped_again_and_again_is_told() -> None:
    world = World()
    stopped = Finding("processes of x", RED, "stopped: qmgr (7)", unit="postfix.service", repair=(WAKE, RESTART))
    for _ in range(10):
        world.round(stopped)
        world.rounds([green(stopped)], 2)
    assert [letter.subject.split(": ")[1] for letter in world.letters] == ["restarts of postfix.service needs you"]


def test_a_service_under_load_is_left_alone_for_ten_minutes() -> None:
    world = World()
    load = replace(HUNG, repair=(RESTART,), hold=10)
    world.rounds([load], 10)
    assert world.done == [[]] * 10
    assert world.letters == []
    assert world.round(load) == [Restart(("dovecot.service",)), Flush()]
    world.rounds([load], 60)
    assert world.count(is_reboot) == 0
    assert len(world.letters) == 1


def test_a_service_that_hangs_again_and_again_is_restarted_less_often() -> None:
    world = World()
    for _ in range(60):
        world.round(HUNG)
        world.round(WELL)
    times = world.memory.restarts["dovecot.service"]
    assert len(times) <= MANY + HOUR / SPACING


def test_a_box_that_only_a_reboot_helps_for_a_while_is_told() -> None:
    world = World()
    for _ in range(24):
        world.rounds([HUNG], 3)
        world.rounds([WELL], 57)
    assert world.count(is_reboot) == MOST_REBOOTS, "not every hour of the day"
    assert "mail.hearth.example: reboots needs you" in [letter.subject for letter in world.letters]


# Whatever comes in whatever order -----------------------------------------------------------------------------------

PARTS = (
    HUNG,
    replace(HUNG, part="postfix", unit="postfix.service"),
    replace(HUNG, part="resolver", unit="unbound.service", repair=(WAKE, RESTART, CHAIN, REBOOT)),
    replace(HUNG, part="load", unit="postfix.service", repair=(RESTART,), hold=10),
    Finding("processes of x", RED, "stopped", unit="postfix.service", repair=(WAKE, RESTART)),
    replace(LOST, repair=(FLUSH, CHAIN, REBOOT)),
    Finding("dns agent", RED, "does not run", unit="hearth-ddns.service", repair=(RESTART,)),
    OLD,
    FULL,
)


# Phases of a few rounds: which parts are red, for how many rounds, and what a reboot would cut off.
Phases = list[tuple[set[int], int, str]]
PHASES = st.lists(
    st.tuples(
        st.sets(st.sampled_from(range(len(PARTS)))),
        st.integers(1, 40),
        st.sampled_from(["", "", "", "apt is at work", "a backup or restore is running"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40)
@given(PHASES)
def test_whatever_happens_letters_restarts_and_reboots_are_few(phases: Phases) -> None:
    world = World()
    reboots: list[float] = []
    restarts: dict[str, list[float]] = {}
    told: dict[str, list[float]] = {}
    open_faults = 0
    for red, rounds, busy in phases:
        findings = [one if at in red else green(one) for at, one in enumerate(PARTS)]
        reds = {PARTS[at].part for at in red}
        for _ in range(rounds):
            before = len(world.letters)
            actions = world.round(*findings, busy=busy)
            for action in actions:
                if isinstance(action, Reboot):
                    assert not busy
                    assert FULL.part not in reds
                    assert actions == [action]
                    assert reds & {"dovecot", "postfix", "resolver", "message"}, (
                        "load and stopped processes are no cause"
                    )
                    reboots.append(world.now)
                if isinstance(action, Restart):
                    for unit in action.units:
                        restarts.setdefault(unit, []).append(world.now)
            for letter in world.letters[before:]:
                if "all is well again" in letter.subject:
                    assert open_faults, "nothing is well again of which nobody was told"
                    open_faults = 0
                    continue
                open_faults += 1
                for part in letter.subject.split(": ", 1)[1].removesuffix(" needs you").split(", "):
                    told.setdefault(part, []).append(world.now)
            assert len(world.letters) - before <= 2
    assert all(after - one >= HOUR for one, after in pairwise(reboots))
    for times in restarts.values():
        for first in times:
            in_an_hour = sum(first <= at < first + HOUR for at in times)
            # Those that helped, those that did not (each has two), and the tries of every quarter of an hour.
            assert in_an_hour <= MANY + HOUR / SPACING + HOUR / AGAIN
    # One letter for a fault; on the same day it must have been well for half an hour before it is told again.
    for times in told.values():
        assert all(after - one >= 120 for one, after in pairwise(times))
        assert all(third - one >= 60 * WELL_AGAIN for one, third in zip(times, times[2:], strict=False))
    well = sum("all is well again" in letter.subject for letter in world.letters)
    assert well <= len(world.letters) - well
    # When all is well, it comes to rest. That units or the box were restarted too often may still have to be told.
    before = len(world.letters)
    world.rounds([green(one) for one in PARTS], 150)
    last = [letter.subject.split(": ")[1] for letter in world.letters[before:]]
    assert len(last) == len(set(last))
    assert all(subject.startswith(("restarts of ", "reboots ", "all is well again")) for subject in last)
    assert not world.letters or world.letters[-1].subject.endswith("all is well again")
    assert not any(world.done[-60:])
    assert world.memory.faults == {}
