"""Reports in words, as a diff and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hearthmail.ddns import stops
from hearthmail.ddns.merge import Change, Conflict
from hearthmail.ddns.report import Report, ZoneReport, clock_time
from hearthmail.ddns.state import State

ADOPT = (
    "If the records of others may go, take their places over: `hearth-ddns adopt` on the box, or the playbook "
    "with `-e ddns_adopt=true`. If not, take the domain out of mail_domains, or move the record."
)


def change_lines(change: Change) -> list[str]:
    """One change as in a diff."""
    before = change.before.lines() if change.before else []
    after = change.after.lines() if change.after else []
    stays = [f"    {line}" for line in before if line in after]
    gone = [f"  - {line}" for line in before if line not in after]
    new = [f"  + {line}" for line in after if line not in before]
    return gone + new + stays


def conflict_lines(conflict: Conflict) -> list[str]:
    """Both sides of a conflict."""
    lines = [f"  CONFLICT at {conflict.key}: {conflict.why}"]
    lines += [f"    there:  {line}" for line in conflict.there]
    lines += [f"    wanted: {line}" for line in conflict.wanted]
    return lines


def zone_lines(zone: ZoneReport, planned_only: bool) -> list[str]:
    """What there is to say about one zone; empty when nothing is."""
    lines = []
    for conflict in zone.conflicts:
        lines += conflict_lines(conflict)
    lines += [f"  NOT WRITTEN at {key}: {why}" for key, why in sorted(zone.withheld.items())]
    if zone.changes:
        if zone.manual:
            lines.append("  to be entered by hand:")
        elif zone.written:
            lines.append("  written:")
        else:
            lines.append("  would be written:" if planned_only else "  not written:")
        for change in zone.changes:
            lines += change_lines(change)
    lines += [f"  note: {note}" for note in zone.notes]
    if zone.error:
        lines.append(f"  ERROR: {zone.error}")
    if zone.written and not zone.still_wrong:
        lines.append(f"  the authoritative servers answer right after {zone.seconds:.1f} s")
    lines += [f"  after {zone.seconds:.0f} s still: {wrong}" for wrong in zone.still_wrong]
    right = "the provider holds it right" if zone.reads else "what was sent last is right"
    again = "" if zone.reads else "; if that is no delay, `hearth-ddns apply` sends it again"
    lines += [f"  {right}, but {wrong}{again}" for wrong in zone.lagging]
    return [f"{zone.zone} at {zone.provider}:", *lines] if lines else []


def lines(report: Report) -> list[str]:
    """The whole report, for a person."""
    out = [line for zone in report.zones for line in zone_lines(zone, report.planned_only)]
    out += [f"note: {note}" for note in report.notes]
    out += [f"ERROR: {error}" for error in report.errors]
    if any(conflict.adoptable for zone in report.zones for conflict in zone.conflicts):
        out.append(ADOPT)
    if out and report.retry_at is not None:
        out.append(f"The next attempt is at {clock_time(report.retry_at)}.")
    return out


def diff(report: Report) -> dict[str, str]:
    """Before and after of all changes, in zone file lines: what `ansible-playbook --diff` shows."""

    def text(sets: Iterable[Any]) -> str:
        return "".join(f"{line}\n" for rrset in sets if rrset for line in rrset.lines())

    changes = [change for zone in report.zones for change in zone.changes]
    return {
        "before": text(change.before for change in changes),
        "after": text(change.after for change in changes),
    }


def as_json(report: Report) -> dict[str, Any]:
    """The whole report, for a program."""

    def rrset(one: Any) -> Any:
        return {"ttl": one.ttl, "values": sorted(one.values)} if one else None

    return {
        "changed": report.changed,
        "exit": report.exit_code,
        "text": lines(report),
        "diff": diff(report),
        "notes": report.notes,
        "errors": [str(error) for error in report.errors],
        "retry_at": report.retry_at,
        "address": {
            "ipv4": report.found.ipv4,
            "ipv4_source": report.found.ipv4_source,
            "ipv4_problem": report.found.ipv4_problem,
            "ipv6": report.found.ipv6,
            "ipv6_problem": report.found.ipv6_problem,
            "ipv4_reasons": dict(report.found.ipv4_reasons),
            "ipv6_reasons": dict(report.found.ipv6_reasons),
            "carrier_nat": report.found.carrier_nat,
            "unknown": list(report.found.unknown),
        }
        if report.found
        else None,
        "zones": [
            {
                "zone": zone.zone,
                "provider": zone.provider,
                "written": zone.written,
                "manual": zone.manual,
                "seconds": round(zone.seconds, 2),
                "error": str(zone.error) if zone.error else None,
                "notes": zone.notes,
                "still_wrong": zone.still_wrong,
                "lagging": zone.lagging,
                "withheld": [f"{key}: {why}" for key, why in sorted(zone.withheld.items())],
                "held_until": zone.held_until,
                "changes": [
                    {
                        "action": change.action,
                        "name": change.key.fqdn,
                        "type": change.key.type,
                        "before": rrset(change.before),
                        "after": rrset(change.after),
                    }
                    for change in zone.changes
                ],
                "conflicts": [
                    {
                        "name": conflict.key.fqdn,
                        "type": conflict.key.type,
                        "why": conflict.why,
                        "there": conflict.there,
                        "wanted": conflict.wanted,
                        "adoptable": conflict.adoptable,
                    }
                    for conflict in zone.conflicts
                ],
            }
            for zone in report.zones
        ],
    }


def status(state: State | None) -> dict[str, Any]:
    """What is remembered, without asking anybody."""
    if state is None:
        return {
            "state": "none",
            "problems": ["No state: nothing was put in place yet, or the file was lost. Run `hearth-ddns apply`."],
            "notes": [],
            "retry_at": None,
        }
    problems = [*stops.problems(state), *state.last_adoption.text, *state.last_look.text]
    # What the last look met too is in its text already.
    withheld = [f"NOT WRITTEN at {why}" for _, why in sorted(state.withheld.items())]
    problems += [line for line in withheld if not any(line in said for said in state.last_look.text)]
    if state.published is None:
        problems.append("Nothing was put in place yet: run `hearth-ddns apply`.")
    problems += [
        f"Provider {name} has failed {outage.failures} times; it is asked again at {clock_time(outage.until)}."
        for name, outage in sorted(state.outages.items())
    ]
    notes = (
        ["The limits of writes are off (ddns_write_limits: false): for measurements only."] if state.limits_off else []
    )
    return {
        "state": "published" if state.published else "waiting",
        "ipv4": state.ipv4,
        "ipv4_source": state.ipv4_source,
        "ipv4_problem": state.ipv4_problem,
        "ipv6": state.ipv6,
        "ipv6_problem": state.ipv6_problem,
        "owned": state.owned,
        "last_write": state.last_write,
        "shortfalls": state.shortfalls,
        "last_exit": state.last_look.exit_code,
        "problems": problems,
        "notes": notes,
        "retry_at": min((outage.until for outage in state.outages.values()), default=None),
    }


def status_lines(status: dict[str, Any]) -> list[str]:
    """The status, for a person."""
    if status["state"] == "none":
        return list(status["problems"])
    out = [f"IPv4: {status['ipv4'] or 'not known'}" + (f" (from {status['ipv4_source']})" if status["ipv4"] else "")]
    if status["ipv4_problem"]:
        out.append(f"  last look: {status['ipv4_problem']}")
    out.append(f"IPv6: {status['ipv6'] or 'no AAAA record'}")
    if status["ipv6_problem"]:
        out.append(f"  because {status['ipv6_problem']}")
    out.append("Our records:")
    for place, values in status["owned"].items():
        zone, name, rdtype = place.split("|")
        out += [f"  {f'{name}.{zone}' if name else zone} {rdtype} {value}" for value in values]
    out += [f"note: {note}" for note in status["notes"]]
    out += [f"note: {shortfall}" for shortfall in status["shortfalls"]]
    out += [f"! {problem}" for problem in status["problems"]]
    return out
