"""What has to change in a zone: our records go in, everything else stays. Pure functions.

The rules, in one place:

- A value that we did not write is never removed or changed, unless a person said `adopt`.
- TXT and CAA are merged value by value. But of values with the same version tag (`v=spf1`, `v=DMARC1`) a
  name may hold one only (RFC 7208 3.2, RFC 7489 6.6.3), so another one there is a conflict.
- Of the other types (A, MX, SRV, TLSA) we need our values to be there. Where they are not, and others stand in
  the place, it is a conflict. Where they are, what stands beside them stays; but an A, AAAA or CNAME that is not
  yet ours must stand alone.
- A place that we own (the state says so) and whose value somebody changed is put right, not asked about.
- A value of ours that is no longer wanted is removed; so is the RRset when nothing else is in it.
- With values of others in the RRset its TTL stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.records import Key, RRset

SHARED_TYPES = frozenset({"TXT", "CAA"})
SINGLE_TYPES = frozenset({"A", "AAAA", "CNAME"})

_VERSION_TAG = re.compile(r"\s*v\s*=\s*([A-Za-z0-9]+)(?=[\s;]|$)")


@dataclass(frozen=True)
class Change:
    """One RRset before and after; None where there is none."""

    key: Key
    before: RRset | None
    after: RRset | None

    @property
    def action(self) -> str:
        """`create`, `update` or `delete`."""
        if self.before is None:
            return "create"
        return "update" if self.after else "delete"


@dataclass(frozen=True)
class Conflict:
    """A record of others where ours should stand.

    :param there: what stands in the place, as zone file lines.
    :param wanted: what we would write.
    :param why: what is wrong with having both.
    :param adoptable: whether `adopt` can take the place over.
    """

    key: Key
    there: tuple[str, ...]
    wanted: tuple[str, ...]
    why: str
    adoptable: bool = True


@dataclass
class Merge:
    """The outcome for one zone: what to write, what stops us, and what is ours afterwards.

    :param withheld: what cannot be written at this provider as things stand, by its place; all else is.
    """

    changes: list[Change] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    owned: dict[Key, frozenset[str]] = field(default_factory=dict)
    withheld: dict[Key, AgentError] = field(default_factory=dict)


def version_tag(value: str) -> str | None:
    """The `v=` tag with which a TXT value begins (`spf1`, `dmarc1`), in lower case; None if it has none."""
    match = _VERSION_TAG.match(value)
    return match[1].lower() if match else None


def merge(
    existing: Mapping[Key, RRset],
    desired: Iterable[RRset],
    owned: Mapping[Key, Collection[str]],
    keep: Collection[Key] = (),
    adopt: bool = False,
) -> Merge:
    """Work out the changes for one zone.

    :param existing: every RRset that stands in the zone now.
    :param desired: our records.
    :param owned: the values that we wrote or adopted earlier.
    :param keep: places to leave alone this time: nothing is known about them.
    :param adopt: take over the places where others' records stand.
    """
    result = Merge()
    wanted = {rrset.key: rrset for rrset in desired if rrset.key not in keep}
    for key in keep:
        if key in owned:
            result.owned[key] = frozenset(owned[key])
    for key, values in sorted(owned.items()):
        if key not in wanted and key not in keep:
            _remove(result, existing.get(key), frozenset(values))
    for _key, want in sorted(wanted.items()):
        if not _name_is_free(result, existing, want, wanted, owned, adopt):
            continue
        there = existing.get(want.key)
        if there is None:
            result.changes.append(Change(want.key, None, want))
            result.owned[want.key] = want.values
        elif want.key.type in SHARED_TYPES:
            _merge_shared(result, there, want, frozenset(owned.get(want.key, ())), adopt)
        else:
            _merge_whole(result, there, want, owned, adopt)
    return result


def additions(outcome: Merge) -> dict[Key, frozenset[str]]:
    """The values that its changes bring in and that are ours then. What others have in the same RRset is not in it."""
    return {
        change.key: outcome.owned.get(change.key, frozenset())
        & change.after.values - (change.before.values if change.before else frozenset())
        for change in outcome.changes
        if change.after
    }


def arrived(
    existing: Mapping[Key, RRset], owned: Mapping[Key, frozenset[str]], pending: Mapping[Key, frozenset[str]]
) -> dict[Key, frozenset[str]]:
    """What is ours after a write of which the end is not known: of the pending values those that stand in the zone."""
    ours = dict(owned)
    for key, values in pending.items():
        there = existing[key].values if key in existing else frozenset()
        if there & values:
            ours[key] = ours.get(key, frozenset()) | (there & values)
    return ours


def withhold(outcome: Merge, key: Key, why: AgentError, owned: Mapping[Key, frozenset[str]]) -> None:
    """Leave a place as it is, because its provider cannot write it as things stand; the rest is not held up by it.

    :param owned: what was ours before, and stays so.
    """
    _leave(outcome, key, owned)
    outcome.withheld[key] = why


def object_to(outcome: Merge, key: Key, there: Iterable[RRset], why: str, owned: Mapping[Key, frozenset[str]]) -> None:
    """Make a conflict of a change: at this provider it would take away what others have there.

    :param there: what it would take away.
    :param owned: as for `withhold`.
    """
    wanted = [line for change in outcome.changes if change.key == key and change.after for line in change.after.lines()]
    _leave(outcome, key, owned)
    lines = tuple(line for rrset in there for line in rrset.lines())
    outcome.conflicts.append(Conflict(key, lines, tuple(wanted), why))


def _leave(outcome: Merge, key: Key, owned: Mapping[Key, frozenset[str]]) -> None:
    outcome.changes = [change for change in outcome.changes if change.key != key]
    outcome.owned.pop(key, None)
    if owned.get(key):
        outcome.owned[key] = owned[key]


def _remove(result: Merge, there: RRset | None, ours: frozenset[str]) -> None:
    """Take out what we wrote and no longer want."""
    if there is None or not there.values & ours:
        return
    rest = there.values - ours
    result.changes.append(Change(there.key, there, RRset(there.key, there.ttl, rest) if rest else None))


def _name_is_free(
    result: Merge,
    existing: Mapping[Key, RRset],
    want: RRset,
    wanted: Mapping[Key, RRset],
    owned: Mapping[Key, Collection[str]],
    adopt: bool,
) -> bool:
    """Look for what forbids any record of ours at a name: a delegation above it, a CNAME beside it (RFC 1034 3.6.2)."""
    key = want.key
    labels = key.name.split(".") if key.name else []
    for start in range(len(labels)):
        cut = existing.get(Key(key.zone, ".".join(labels[start:]), "NS"))
        if cut:
            why = f"{cut.key.fqdn} is delegated to other servers, so this zone's records there are not seen"
            result.conflicts.append(Conflict(key, tuple(cut.lines()), tuple(want.lines()), why, adoptable=False))
            return False
    if key.type == "CNAME":
        others = [rrset for place, rrset in existing.items() if place.name == key.name and place.type != "CNAME"]
    else:
        others = [rrset for place, rrset in existing.items() if place == Key(key.zone, key.name, "CNAME")]
    others = [rrset for rrset in others if not rrset.values <= frozenset(owned.get(rrset.key, ()))]
    if not others:
        return True
    if not adopt:
        there = tuple(line for rrset in others for line in rrset.lines())
        why = "a CNAME cannot stand beside another record"
        result.conflicts.append(Conflict(key, there, tuple(want.lines()), why))
        return False
    already = {change.key for change in result.changes}
    result.changes.extend(
        Change(rrset.key, rrset, None) for rrset in others if rrset.key not in already and rrset.key not in wanted
    )
    return True


def _merge_shared(result: Merge, there: RRset, want: RRset, ours: frozenset[str], adopt: bool) -> None:
    """TXT and CAA: our values beside those of others."""
    stale = ours - want.values
    outgoing = set(stale)
    conflicts = []
    for tag in sorted({tag for value in want.values if (tag := version_tag(value))}):
        rivals = {value for value in there.values - want.values - stale if version_tag(value) == tag}
        our_values = {value for value in ours | want.values if version_tag(value) == tag}
        if not rivals:
            continue
        if any(version_tag(value) == tag for value in ours) and not there.values & our_values:
            result.notes.append(f"{want.key}: our value was changed by hand to {_listed(rivals)}; put back")
            outgoing |= rivals
        elif adopt:
            outgoing |= rivals
        else:
            lines = tuple(RRset(there.key, there.ttl, frozenset(rivals)).lines())
            ours_lines = tuple(RRset(want.key, want.ttl, frozenset(our_values & want.values)).lines())
            why = f"a name may hold one value with v={tag} only"
            conflicts.append(Conflict(want.key, lines, ours_lines, why))
    if conflicts:
        result.conflicts.extend(conflicts)
        result.owned[want.key] = ours & there.values
        return
    after = (there.values - outgoing) | want.values
    ttl = there.ttl if after - want.values else want.ttl
    _change(result, there, RRset(want.key, ttl, after))
    result.owned[want.key] = want.values


def _merge_whole(result: Merge, there: RRset, want: RRset, owned: Mapping[Key, Collection[str]], adopt: bool) -> None:
    """All other types: the place is ours, or it is somebody's."""
    ours = frozenset(owned.get(want.key, ()))
    foreign = there.values - want.values - ours
    single = want.key.type in SINGLE_TYPES
    ours_stands = bool(there.values & (ours | want.values)) if ours else want.values <= there.values
    if not foreign:
        after = want
    elif ours and not ours_stands:
        result.notes.append(f"{want.key}: our value was changed by hand to {_listed(foreign)}; put back")
        after = want
    elif ours_stands and (ours or not single):
        result.notes.append(f"{want.key}: {_listed(foreign)} beside our value is not ours and stays")
        after = RRset(want.key, there.ttl, want.values | foreign)
    elif adopt:
        after = want
    else:
        conflict = Conflict(want.key, tuple(there.lines()), tuple(want.lines()), _why_taken(want.key))
        result.conflicts.append(conflict)
        result.owned[want.key] = ours & there.values
        return
    _change(result, there, after)
    result.owned[want.key] = want.values


def _why_taken(key: Key) -> str:
    if key.type in ("A", "AAAA"):
        return "the box's name leads to another address"
    if key.type == "MX":
        return "mail for the domain goes to another server"
    return "the place is taken"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def _change(result: Merge, there: RRset, after: RRset) -> None:
    if (there.ttl, there.values) != (after.ttl, after.values):
        result.changes.append(Change(there.key, there, after))
