"""Whole runs of the agent against a provider in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hearthmail.ddns import state, text
from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.records import Key
from hearthmail.ddns.report import CHANGES, CONFLICT, ERROR, OK

from .conftest import MX_AND_SPF, ZONE, World, work_here

FOREIGN = {
    ("www", "A"): {"ttl": 300, "values": ["203.0.113.80"]},
    ("", "TXT"): {"ttl": 900, "values": ["site-verification=abc\\;def"]},
    ("lists", "MX"): {"ttl": 300, "values": [{"preference": 5, "exchange": "mx.other.example."}]},
    ("", "NS"): {"ttl": 86400, "values": ["ns1.provider.example."]},
}


def copy(records: dict) -> dict:  # type: ignore[type-arg]
    return {place: dict(data) for place, data in records.items()}


def test_first_apply_adds_ours_and_leaves_the_rest(world: World) -> None:
    world.zone.update(copy(FOREIGN))
    assert world.agent().plan().exit_code == CHANGES
    assert world.writes == 0
    assert world.agent().apply().exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.10"}
    assert world.zone["mail", "A"]["ttl"] == 60
    assert world.values("", "MX") == {"10 mail.hearth.example."}
    assert world.values("", "TXT") == {"site-verification=abc;def", "v=spf1 mx -all"}
    # The apex TXT is shared with others: its TTL is theirs.
    assert world.zone["", "TXT"]["ttl"] == 900
    for place in (("www", "A"), ("lists", "MX"), ("", "NS")):
        assert world.zone[place] == FOREIGN[place]


def test_second_apply_and_checks_write_nothing(world: World) -> None:
    world.zone.update(copy(FOREIGN))
    world.agent().apply()
    writes, reads = world.writes, world.reads
    assert world.agent().plan().exit_code == OK
    assert world.agent().apply().exit_code == OK
    reads_of_two = world.reads - reads
    for _ in range(3):
        assert world.agent().check().exit_code == OK
    assert world.writes == writes
    assert world.reads - reads == reads_of_two + 3


def test_a_quick_look_asks_nobody_when_the_address_is_known_to_be_right(world: World) -> None:
    world.agent().apply()
    reads, questions = world.reads, world.questions
    report = world.agent().check(full=False)
    assert (report.exit_code, report.retry_at) == (OK, None)
    assert (world.reads, world.questions) == (reads, questions)
    world.ipv4 = "198.51.100.11"
    assert world.agent().check(full=False).changed
    assert world.values("mail", "A") == {"198.51.100.11"}


def test_quick_plan_asks_nobody(world: World) -> None:
    world.agent().apply()
    reads, questions = world.reads, world.questions
    assert world.agent().plan(quick=True).exit_code == OK
    assert (world.reads, world.questions) == (reads, questions)


def test_address_change_is_followed(world: World) -> None:
    world.agent().apply()
    world.ipv4 = "198.51.100.11"
    assert world.agent().check().exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.11"}


def test_a_failed_look_changes_nothing(world: World) -> None:
    world.agent().apply()
    writes = world.writes
    world.ipv4 = None
    report = world.agent().check()
    assert report.exit_code == OK
    assert "not known" in report.notes[0]
    # It is told once.
    assert world.agent().check().notes == []
    assert world.agent().apply().exit_code == OK
    assert world.writes == writes
    assert world.values("mail", "A") == {"198.51.100.10"}


def test_without_any_address_nothing_is_written(world: World) -> None:
    world.ipv4 = None
    assert world.agent().apply().exit_code == ERROR
    assert world.writes == 0


def test_ipv6_comes_and_goes(world: World) -> None:
    world.agent().apply()
    world.ipv6 = "2001:db8:77::10"
    world.agent().check()
    assert world.values("mail", "AAAA") == {"2001:db8:77::10"}
    world.ipv6 = "2001:db8:78::10"
    world.agent().check()
    assert world.values("mail", "AAAA") == {"2001:db8:78::10"}
    world.ipv6 = None
    world.clock += 60
    world.agent().check()
    assert world.values("mail", "AAAA") == set()
    assert ("mail", "AAAA") not in world.zone


def test_foreign_aaaa_stays_when_we_have_none(world: World) -> None:
    world.zone["mail", "AAAA"] = {"ttl": 60, "values": ["2001:db8:ffff::1"]}
    world.agent().apply()
    world.agent().check()
    assert world.values("mail", "AAAA") == {"2001:db8:ffff::1"}


@pytest.mark.parametrize(
    ("place", "data"),
    [
        (("", "MX"), {"ttl": 300, "values": [{"preference": 10, "exchange": "mx.old-hoster.example."}]}),
        (("", "TXT"), {"ttl": 300, "values": ["v=spf1 include:old-hoster.example -all"]}),
        (("mail", "A"), {"ttl": 300, "values": ["203.0.113.5"]}),
        (("mail", "CNAME"), {"ttl": 300, "value": "web.old-hoster.example."}),
    ],
    ids=["MX", "SPF", "A", "CNAME"],
)
def test_a_foreign_record_in_our_place_stops_until_adopted(world: World, place, data) -> None:  # type: ignore[no-untyped-def]
    world.zone.update(copy(FOREIGN))
    world.zone[place] = dict(data)
    before = copy(world.zone)
    for report in (world.agent().plan(), world.agent().apply()):
        assert report.exit_code == CONFLICT
        said = "\n".join(text.lines(report))
        assert "old-hoster" in said or "203.0.113.5" in said
        assert "wanted:" in said
        assert "ddns_adopt=true" in said
    # The timer does not write either.
    world.agent().check()
    assert world.zone == before

    assert world.agent().apply(adopt=["second.example"]).exit_code == CONFLICT
    assert world.agent().apply(adopt=[ZONE]).exit_code == OK
    assert world.values("", "MX") == {"10 mail.hearth.example."}
    assert "v=spf1 mx -all" in world.values("", "TXT")
    assert world.values("mail", "A") == {"198.51.100.10"}
    assert not any("old-hoster" in str(data) for data in world.zone.values())
    assert world.zone["www", "A"] == FOREIGN["www", "A"]
    assert world.agent().plan().exit_code == OK


def test_spf_follows_the_fragment(world: World) -> None:
    world.zone["", "TXT"] = {"ttl": 900, "values": ["site-verification=abc"]}
    world.agent().apply()
    spf = {**MX_AND_SPF[1], "values": ["v=spf1 mx include:isp.example -all"]}
    world.ahead = {"postfix": [MX_AND_SPF[0], spf]}
    # The timer follows a value that it wrote itself; new records wait for the playbook.
    assert world.agent().apply().exit_code == OK
    assert world.values("", "TXT") == {"site-verification=abc", "v=spf1 mx include:isp.example -all"}


def test_records_no_longer_wanted_go(world: World) -> None:
    world.zone["", "TXT"] = {"ttl": 900, "values": ["site-verification=abc"]}
    world.agent().apply()
    world.ahead = {"postfix": []}
    world.agent().check()
    assert world.values("", "MX"), "the service removes nothing that a lost file made unwanted"
    world.agent().apply()
    assert world.values("", "MX") == set()
    assert world.values("", "TXT") == {"site-verification=abc"}


def test_what_was_changed_by_hand_is_healed(world: World) -> None:
    world.agent().apply()
    world.zone["mail", "A"]["value"] = "203.0.113.9"
    world.zone["", "MX"] = {"ttl": 60, "values": [{"preference": 1, "exchange": "mx.other.example."}]}
    report = world.agent().check()
    assert report.exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.10"}
    assert world.values("", "MX") == {"10 mail.hearth.example."}
    assert "by hand" in "\n".join(text.lines(report))


def test_a_second_mx_beside_ours_stays(world: World) -> None:
    world.agent().apply()
    ours = {"preference": 10, "exchange": "mail.hearth.example."}
    backup = {"preference": 20, "exchange": "mx.backup.example."}
    world.zone["", "MX"] = {"ttl": 3600, "values": [ours, backup]}
    writes = world.writes
    assert world.agent().check().exit_code == OK
    assert world.agent().apply().exit_code == OK
    assert world.writes == writes
    assert world.values("", "MX") == {"10 mail.hearth.example.", "20 mx.backup.example."}


def test_lost_state_adopts_what_matches_and_touches_nothing(world: World) -> None:
    world.zone.update(copy(FOREIGN))
    world.agent().apply()
    before, writes = copy(world.zone), world.writes
    (world.path / "ddns.json").write_text('{"version": 1, "owned": 3}')
    assert world.agent().check().exit_code == OK
    assert world.writes == writes
    assert world.zone == before
    assert world.state is not None
    assert world.state.published
    # From here on the address is followed again.
    world.ipv4 = "198.51.100.12"
    world.agent().check()
    assert world.values("mail", "A") == {"198.51.100.12"}


def test_lost_state_and_another_address_waits_for_a_person(world: World) -> None:
    world.agent().apply()
    (world.path / "ddns.json").unlink()
    world.ipv4 = "198.51.100.12"
    world.agent().check()
    assert world.values("mail", "A") == {"198.51.100.10"}
    assert world.agent().apply().exit_code == CONFLICT
    assert world.agent().apply(adopt=[]).exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.12"}


def test_check_before_the_first_apply_writes_nothing(world: World) -> None:
    for _ in range(3):
        world.agent().check()
        world.clock += 400
    assert world.writes == 0
    assert world.zone == {}


def test_a_provider_that_is_down_is_named_and_asked_again_later(world: World) -> None:
    world.agent().apply()
    world.ipv4, world.down = "198.51.100.13", True
    report = world.agent().check()
    assert report.exit_code == ERROR
    said = "\n".join(text.lines(report))
    assert "Provider lab, zone hearth.example" in said
    assert "connection refused" in said
    # The same difference is not taken there every 30 s, nor told again; it is still an error.
    reads = world.reads
    assert world.agent().check().exit_code == ERROR
    assert world.reads == reads
    world.clock, world.down = world.clock + 301, False
    assert world.agent().check().exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.13"}


def test_a_zone_that_does_not_exist_is_not_made(world: World) -> None:
    world.zones.clear()
    report = world.agent().apply()
    assert report.exit_code == ERROR
    assert "no zone hearth.example" in "\n".join(text.lines(report))
    assert world.zones == {}


def test_one_zone_in_conflict_stops_all_on_apply(world: World) -> None:
    world.config["domains"] = [{"name": ZONE, "dns": "lab"}, {"name": "second.example", "dns": "lab"}]
    world.ahead = {"postfix": MX_AND_SPF + [{**one, "zone": "second.example"} for one in MX_AND_SPF]}
    world.zones["second.example."] = {
        ("", "MX"): {"ttl": 60, "values": [{"preference": 1, "exchange": "mx.x.example."}]}
    }
    assert world.agent().apply().exit_code == CONFLICT
    assert world.writes == 0
    assert world.agent().apply(adopt=["second.example"]).exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.10"}


def test_by_hand_the_records_are_told(world: World) -> None:
    world.config = {**world.config, "providers": {"lab": {"type": "none"}}}
    report = world.agent().apply()
    assert report.exit_code == OK
    assert world.writes == 0
    said = "\n".join(text.lines(report))
    assert "to be entered by hand" in said
    assert "+ hearth.example. 3600 IN MX 10 mail.hearth.example." in said


def test_the_diff_reads_as_a_zone_file(world: World) -> None:
    world.agent().apply()
    world.ipv4 = "198.51.100.14"
    assert text.diff(world.agent().plan()) == {
        "before": "mail.hearth.example. 60 IN A 198.51.100.10\n",
        "after": "mail.hearth.example. 60 IN A 198.51.100.14\n",
    }


@pytest.mark.parametrize("arrived", [True, False])
def test_an_apply_that_was_cut_off_is_finished_by_the_next_apply(world: World, arrived: bool) -> None:
    class PowerLossError(BaseException):
        pass

    def cut(plan: object) -> None:
        if arrived:
            whole(plan)
        raise PowerLossError

    world.agent().apply()
    imaps = {
        "zone": ZONE,
        "name": "_imaps._tcp",
        "type": "SRV",
        "ttl": 3600,
        "values": ["0 1 993 mail.hearth.example."],
    }
    world.ahead = {"postfix": [*MX_AND_SPF, imaps]}
    whole = world.provider._apply
    world.provider._apply = cut  # type: ignore[method-assign]
    with pytest.raises(PowerLossError):
        world.agent().apply()
    world.provider._apply = whole  # type: ignore[method-assign]
    key = Key(ZONE, "_imaps._tcp", "SRV")
    for full in (False, True):
        # The service neither takes away what has arrived nor writes what a person asked for.
        world.agent().check(full)
        assert (world.values(key.name, key.type) != set()) == arrived
        assert world.state
        assert world.state.owns(key) == arrived
        assert world.state.pending == {}
    assert world.agent().apply().exit_code == OK
    assert world.values(key.name, key.type) != set()
    world.ahead = {"postfix": MX_AND_SPF}
    assert world.agent().apply().exit_code == OK
    assert world.values(key.name, key.type) == set()


def test_what_arrived_and_is_no_longer_asked_for_goes(world: World) -> None:
    """The zone holds nothing else of ours: only that a write was begun makes the agent look there."""
    world.config["domains"] = [{"name": ZONE, "dns": "lab"}, {"name": "second.example", "dns": "lab"}]
    world.zones["second.example."] = {}
    world.agent().apply()
    kept = world.state
    assert kept
    key = Key("second.example", "", "MX")
    kept.set_pending("second.example", {key: frozenset({"10 mail.hearth.example."})})
    state.save(kept, world.path / "ddns.json")
    world.zones["second.example."]["", "MX"] = {
        "ttl": 60,
        "values": [{"preference": 10, "exchange": "mail.hearth.example."}],
    }
    assert world.agent().apply().exit_code == OK
    assert world.zones["second.example."] == {}
    assert world.state
    assert world.state.pending == {}


def limited(world: World, writes: int) -> None:
    world.config["providers"] = {"lab": {**world.config["providers"]["lab"], "daily_writes": writes}}


def test_a_write_too_many_waits_and_the_newest_address_is_written(world: World) -> None:
    world.agent().apply()
    for number in range(11, 15):
        world.ipv4 = f"198.51.100.{number}"
        report = world.agent().check(full=False)
    assert world.values("mail", "A") == {"198.51.100.12"}
    assert report.retry_at == world.clock + 60
    # It was said with the first one that had to wait.
    assert text.lines(report) == []
    writes, reads = world.writes, world.reads
    world.clock += 59
    # A whole look neither.
    assert world.agent().check().retry_at == world.clock + 1
    assert (world.writes, world.reads) == (writes, reads + 1)
    world.clock += 1
    assert world.agent().check(full=False).changed
    assert world.values("mail", "A") == {"198.51.100.14"}


def test_a_person_is_not_held_back_until_the_daily_cap(world: World) -> None:
    limited(world, 5)
    for number in range(11, 16):
        world.ipv4 = f"198.51.100.{number}"
        assert world.agent().apply().exit_code == OK
    world.ipv4 = "198.51.100.16"
    report = world.agent().apply()
    assert report.exit_code == ERROR
    said = "\n".join(text.lines(report))
    assert "written to 5 times in 24 h" in said
    assert "dns_providers.lab.daily_writes" in said
    assert world.values("mail", "A") == {"198.51.100.15"}
    assert report.retry_at == world.clock + 86400
    # The provider did nothing wrong: it is asked as before, and nothing is written.
    assert world.agent().check().exit_code == OK
    assert world.state
    assert world.state.outages == {}
    limited(world, 6)
    assert world.agent().apply().exit_code == OK


def test_limits_that_are_off_are_said_to_be(world: World) -> None:
    world.config["limits"] = {"enabled": False}
    world.agent().apply()
    for number in range(11, 31):
        world.ipv4 = f"198.51.100.{number}"
        assert world.agent().check(full=False).changed
    assert world.state
    assert "limits of writes are off" in "\n".join(text.status_lines(text.status(world.state)))
    del world.config["limits"]
    world.agent().check()
    assert world.state
    assert "limits of writes are off" not in "\n".join(text.status_lines(text.status(world.state)))


def test_what_was_told_is_not_told_again(world: World) -> None:
    world.agent().apply()
    ours = {"preference": 10, "exchange": "mail.hearth.example."}
    backup = {"preference": 20, "exchange": "mx.backup.example."}
    world.zone["", "MX"] = {"ttl": 3600, "values": [ours, backup]}
    assert "is not ours and stays" in "\n".join(text.lines(world.agent().check()))
    for _ in range(3):
        assert text.lines(world.agent().check()) == []
    world.zone["", "MX"] = {"ttl": 3600, "values": [ours]}
    assert text.lines(world.agent().check()) == []


def test_a_lost_state_while_the_provider_is_down_adopts_nothing(world: World) -> None:
    world.agent().apply()
    (world.path / "ddns.json").unlink()
    world.down = True
    for _ in range(2):
        world.agent().check()
        assert world.state
        assert (world.state.published, world.state.owned) == (None, {})
    world.down = False
    world.clock += 300
    world.agent().check()
    assert world.state
    assert world.state.published


def test_a_full_disk_does_not_keep_the_address_from_being_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    world.agent().apply()
    resident = world.agent()
    monkeypatch.setattr("hearthmail.ddns.state.replace_file", full)
    for number in range(11, 16):
        world.ipv4 = f"198.51.100.{number}"
        report = resident.check(full=False)
    assert "Make room on the disk" in "\n".join(text.lines(report))
    # What is not on the disk is still known.
    assert world.values("mail", "A") == {"198.51.100.12"}
    monkeypatch.undo()
    world.clock += 60
    monkeypatch.setattr("hearthmail.ddns.publish.work_limited", work_here)
    assert resident.check(full=False).exit_code == OK
    assert world.values("mail", "A") == {"198.51.100.15"}
    assert world.state
    assert world.state.owns(Key(ZONE, "mail", "A"))


@pytest.mark.parametrize(("option", "value"), [("daily_writes", -1), ("daily_writes", "many"), ("min_ttl", "x")])
def test_a_limit_that_is_no_number_is_named(world: World, option: str, value: object) -> None:
    world.config["providers"] = {"lab": {**world.config["providers"]["lab"], option: value}}
    with pytest.raises(ConfigError, match=rf"dns_providers\.lab\.{option}"):
        world.agent()


# A fragment that is broken --------------------------------------------------------------------------------------

SITE = {"zone": ZONE, "name": "", "type": "TXT", "ttl": 3600, "values": ["site=ours"]}
BLOG = {"zone": ZONE, "name": "blog", "type": "CNAME", "ttl": 3600, "values": ["mail.hearth.example."]}
KEY = {"zone": ZONE, "name": "_443._tcp.blog", "type": "TLSA", "ttl": 3600, "values": ["3 1 1 " + "ab" * 32]}
GONE = {"zone": "gone.example", "name": "", "type": "MX", "ttl": 3600, "values": ["10 mail.hearth.example."]}
BROKEN = {
    "a domain that is gone": json.dumps([GONE]),
    "a zone that is misspelt": json.dumps([{**BLOG, "zone": "heart.example"}, SITE]),
    "cut": json.dumps([SITE, BLOG, KEY])[:70],
    "no list": json.dumps({"web": 1}),
    "a wrong value": json.dumps([SITE, {**BLOG, "type": "MX"}]),
    "nested without end": "[" * 100_000,
}


def fragment(world: World, role: str, data: Any) -> None:
    path = world.path / "records.d" / f"{role}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


@pytest.fixture
def with_a_website(world: World) -> World:
    """Two roles hand in records; both have a text at the domain's own name."""
    world.ahead = {}
    fragment(world, "postfix", MX_AND_SPF)
    fragment(world, "web", [SITE, BLOG, KEY])
    assert world.agent().apply().exit_code == OK
    return world


def of_the_website(world: World) -> list[set[str]]:
    return [world.values("", "TXT"), world.values("blog", "CNAME"), world.values("_443._tcp.blog", "TLSA")]


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_fragment_holds_up_nothing_but_its_own_records(with_a_website: World, how: str) -> None:
    world = with_a_website
    before = of_the_website(world)
    fragment(world, "web", BROKEN[how])
    world.ipv4 = "198.51.100.11"
    assert world.agent().check(full=False).changed
    assert world.values("mail", "A") == {"198.51.100.11"}
    # What the other role asks for is still looked after, and followed when a person says so.
    world.zone["", "MX"] = {"ttl": 60, "values": [{"preference": 1, "exchange": "mx.other.example."}]}
    assert world.agent().check().exit_code == ERROR
    assert world.values("", "MX") == {"10 mail.hearth.example."}
    fragment(world, "postfix", [*MX_AND_SPF, {**BLOG, "name": "news"}])
    assert world.agent().plan().exit_code == ERROR
    assert world.agent().apply().exit_code == ERROR
    assert world.values("news", "CNAME") == {"mail.hearth.example."}
    # However long it lasts.
    for _ in range(3):
        world.clock += 10 * 86400
        world.agent().check()
        world.agent().apply()
    assert of_the_website(world) == before
    # The role has written it anew.
    fragment(world, "web", [BLOG, KEY])
    assert world.agent().apply().exit_code == OK
    assert of_the_website(world) == [{"v=spf1 mx -all"}, *before[1:]]
    assert text.status(world.state)["problems"] == []


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_fragment_is_told_once_with_the_way_out(with_a_website: World, how: str) -> None:
    world = with_a_website
    fragment(world, "web", BROKEN[how])
    said = "\n".join(text.lines(world.agent().check()))
    assert str(world.path / "records.d" / "web.json") in said
    assert "--tags web" in said
    assert ("gone.example" in said) == ("gone" in how)
    for _ in range(3):
        report = world.agent().check()
        assert (text.lines(report), report.exit_code) == ([], ERROR)
    assert any("web.json" in problem for problem in text.status(world.state)["problems"])
    # A person is told each time.
    for _ in range(2):
        for report in (world.agent().apply(), world.agent().plan(), world.agent().plan(quick=True)):
            assert report.exit_code == ERROR
            assert "web.json" in "\n".join(text.lines(report))


def test_without_a_state_a_broken_fragment_does_not_keep_the_address_from_being_followed(
    with_a_website: World,
) -> None:
    world = with_a_website
    before = of_the_website(world)
    (world.path / "ddns.json").unlink()
    fragment(world, "web", BROKEN["cut"])
    assert world.agent().check().exit_code == ERROR
    world.ipv4 = "198.51.100.11"
    world.agent().check()
    assert world.values("mail", "A") == {"198.51.100.11"}
    assert of_the_website(world) == before
    # Whoever hands it in whole again has it put in place.
    fragment(world, "web", [SITE, BLOG, KEY])
    assert "put in place last" not in str(world.agent().plan(quick=True).notes)
    assert world.agent().apply().exit_code == OK
    assert of_the_website(world) == before


def test_what_arrived_of_a_broken_fragment_stays(with_a_website: World) -> None:
    """A write that was cut off put it in place; then its fragment broke."""
    world = with_a_website
    news = {**BLOG, "name": "news"}
    kept = world.state
    assert kept
    kept.set_pending(ZONE, {Key(ZONE, "news", "CNAME"): frozenset(news["values"])})
    state.save(kept, world.path / "ddns.json")
    world.zone["news", "CNAME"] = {"ttl": 3600, "value": "mail.hearth.example."}
    fragment(world, "web", BROKEN["cut"])
    world.agent().apply()
    assert world.values("news", "CNAME") == {"mail.hearth.example."}


def test_a_broken_fragment_that_its_role_is_about_to_write_anew_stops_no_plan(with_a_website: World) -> None:
    world = with_a_website
    fragment(world, "web", BROKEN["cut"])
    world.ahead = {"web": [SITE, BLOG, KEY, {**BLOG, "name": "news"}]}
    assert world.agent().plan().exit_code == CHANGES
