"""Reading and writing a zone at its provider, with octoDNS used as a library in patch mode.

octoDNS' own sync would delete what it does not know. So the zone is read, our RRsets are set into a copy of it, and
the difference of the two is what octoDNS applies: nothing else can be in it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import quote, quote_plus

from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.errors import AgentError, ConfigError, ProviderError, StopError, WaitError
from hearthmail.ddns.merge import SINGLE_TYPES, Change, Merge, arrived, merge
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.records import ADDRESS_TTL, Key, RRset, canonical, rdata_text

# Seconds for all reading and writing of one run. Some providers' packages have no time-out of their own.
HARD_LIMIT = 60


@dataclass(frozen=True)
class Job:
    """What one zone needs: see `hearthmail.ddns.merge.merge`.

    :param pending: values which an earlier run was about to write when it ended.
    :param withdrawn: values which were ours until lately: a name server that lags may answer them still.
    :param again: places of ours that are sent once more: nobody has seen them for long.
    :param unchanged: requests that are not sent again: see `hearthmail.ddns.stops`.
    :param in_person: somebody runs `plan`, `apply` or `adopt` and looks at what is told.
    """

    zone: str
    provider: ProviderConfig
    desired: tuple[RRset, ...]
    owned: Mapping[Key, frozenset[str]]
    keep: frozenset[Key]
    adopt: bool
    pending: Mapping[Key, frozenset[str]] = field(default_factory=dict)
    withdrawn: Mapping[Key, frozenset[str]] = field(default_factory=dict)
    again: frozenset[Key] = frozenset()
    unchanged: frozenset[str] = frozenset()
    in_person: bool = False


@dataclass(frozen=True)
class Done:
    """How a job ended.

    :param merge: what had to change; None when the zone could not be read.
    :param written: whether the changes were written.
    :param error: what went wrong, None when nothing did.
    :param before: what was ours in the zone before, as it was read.
    :param unchanged: requests to which the provider answered that nothing had changed.
    :param pause: seconds for which the provider wants nothing more after this.
    """

    zone: str
    merge: Merge | None
    written: bool
    error: AgentError | None = None
    before: Mapping[Key, frozenset[str]] = field(default_factory=dict)
    unchanged: frozenset[str] = frozenset()
    pause: float = 0


def make_provider(config: ProviderConfig) -> Any:
    """Make the octoDNS provider of an entry.

    :raises ConfigError: when its options are not usable, or the box has not what its package needs.
    """
    spec = SPECS[config.type]
    make = spec.make
    if make is None:
        raise ConfigError(f"DNS provider {config.name} (none) has no interface.", "A person enters its records.")
    needed, here = (".".join(map(str, version)) for version in (spec.min_python, sys.version_info[:2]))
    if sys.version_info[:2] < spec.min_python:
        raise ConfigError(
            f"DNS provider {config.name} ({config.type}) needs Python {needed}, and this is {here}.",
            "Use Debian 13 on the box, or another provider.",
        )
    try:
        return make(config.name, config.options)
    except ImportError as error:
        raise ConfigError(
            f"DNS provider {config.name} ({config.type}) needs a library that cannot be loaded: {error}.",
            f"Run the playbook: role ddns installs {', '.join(spec.debian_packages) or 'the agent with all it needs'}.",
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"DNS provider {config.name} ({config.type}) cannot be used: {without_secrets(config, str(error))}.",
            f"Correct dns_providers.{config.name}.",
        ) from None


def without_secrets(config: ProviderConfig, text: str) -> str:
    """Take the credentials out of what a library or a provider says."""
    for key in SPECS[config.type].secrets_of(config.options):
        value = str(config.options.get(key) or "")
        for form in (value, quote(value, safe=""), quote_plus(value)):
            # One of less than 4 characters is none; it would only tear words apart.
            text = text.replace(form, "***") if len(form) >= 4 else text
    return text


def read_zone(provider: Any, zone: str) -> Any:
    """Read a zone from its provider as octoDNS knows it.

    :raises LookupError: when the provider has no such zone. octoDNS would make it; but a zone that is not there is
        a mistake in the configuration.
    """
    from octodns.zone import Zone

    existing = Zone(f"{zone}.", [])
    if provider.populate(existing, target=True, lenient=True) is False:
        raise LookupError(f"it has no zone {zone}")
    return existing


def _text(record: Any, value: Any) -> str:
    """One octoDNS value in our form."""
    if record._type == "TXT":
        return str(value).replace("\\;", ";")
    data = value.to_rdata_text() if hasattr(value, "to_rdata_text") else str(value)
    try:
        return canonical(record._type, data)
    except ConfigError:
        # Another's record that only its provider understands: it is kept as it is.
        return str(data)


def _values(record: Any) -> list[Any]:
    return list(record.values) if hasattr(record, "values") else [record.value]


def snapshot(zone: Any) -> dict[Key, RRset]:
    """The RRsets of an octoDNS zone in our form."""
    name = zone.name.rstrip(".")
    found = {}
    for record in zone.records:
        key = Key(name, record.name, record._type)
        found[key] = RRset(key, record.ttl, frozenset(_text(record, value) for value in _values(record)))
    return found


def as_remembered(provider: Any, existing: Any, job: Job) -> Any:
    """A zone that only the name servers could tell, as far as that is believed.

    What is ours in it and stays asked for is taken from memory: whoever can forge an answer, and every server that
    lags, could otherwise make us write. A person who is there to read what is told looks at all of it.

    :param existing: the octoDNS zone as it was read.
    """
    if SPECS[job.provider.type].reads:
        return existing
    asked_for = job.keep | {rrset.key for rrset in job.desired}
    memory = {} if job.in_person else {key: job.owned[key] for key in asked_for & job.owned.keys()}
    for key, values in unasked(job, job.pending).items():
        # It may have arrived although its answer was lost: then memory is wrong, and a server that lags too.
        if key.type in SINGLE_TYPES or not job.in_person:
            memory[key] = values | job.owned.get(key, frozenset())
    known = existing.copy()
    for key, values in job.withdrawn.items():
        there = existing.get_type(key.name, key.type)
        left = frozenset(_text(there, value) for value in _values(there)) - values if there else frozenset()
        if there and left:
            known.add_record(_record(provider, existing, RRset(key, there.ttl, left)), replace=True, lenient=True)
        elif there:
            known.remove_record(there)
    for key, values in memory.items():
        there = existing.get_type(key.name, key.type)
        if key in job.again:
            if there:
                known.remove_record(there)
            continue
        ttl = there.ttl if there else ADDRESS_TTL
        known.add_record(_record(provider, existing, RRset(key, ttl, values)), replace=True, lenient=True)
    return known


def unasked(job: Job, values: Mapping[Key, frozenset[str]]) -> dict[Key, frozenset[str]]:
    """Those values that stand in places of ours where others are asked for."""
    others = {one.key: values.get(one.key, frozenset()) - one.values for one in job.desired if one.key not in job.keep}
    return {key: values[key] for key, left in others.items() if left}


def _record(provider: Any, zone: Any, rrset: RRset) -> Any:
    """An octoDNS record from our form."""
    from octodns.record import Record
    from octodns.record.rr import Rrset

    texts = [rdata_text(rrset.key.type, value) for value in sorted(rrset.values)]
    made = Rrset(f"{rrset.key.fqdn}.", rrset.key.type, rrset.ttl, texts)
    return Record.from_rrset(zone, made, lenient=True, source=provider)


def to_plan(provider: Any, existing: Any, changes: Iterable[Change]) -> Any:
    """Turn changes into an octoDNS plan, which holds nothing but them.

    Values that stay are taken over from the zone as octoDNS read them, so they are written as they were.

    :raises SupportsException: octoDNS' own, when the provider cannot hold a type.
    """
    from octodns.provider import SupportsException
    from octodns.provider.plan import Plan
    from octodns.record import Record

    desired = existing.copy()
    places = {}
    for change in changes:
        key = change.key
        there = existing.get_type(key.name, key.type)
        places[(key.name, key.type)] = there
        if change.after is None:
            desired.remove_record(there)
            continue
        kept = {_text(there, value): value for value in _values(there)} if there else {}
        staying = [kept[value] for value in sorted(change.after.values) if value in kept]
        new = change.after.values - set(kept)
        values = [getattr(value, "data", value) for value in staying]
        if new:
            made = _record(provider, existing, RRset(key, change.after.ttl, new))
            values += [getattr(value, "data", value) for value in _values(made)]
        data: dict[str, Any] = {"type": key.type, "ttl": change.after.ttl, "values": values}
        if key.type == "CNAME":
            data["value"] = data.pop("values")[0]
        record = Record.new(existing, key.name, data, source=provider, lenient=True)
        if not provider.supports(record):
            raise SupportsException(f"it cannot hold {key.type} records ({key})")
        desired.add_record(record, replace=True, lenient=True)
    planned = [change for change in existing.changes(desired, provider) if provider._include_change(change)]
    strays = [change for change in planned if (change.record.name, change.record._type) not in places]
    if strays:
        raise AssertionError(f"octoDNS planned what was not asked for: {strays}")
    # octoDNS' thresholds guard against a source that lost its records. Here every change was asked for by name.
    plan = Plan(existing, desired, planned, True, update_pcent_threshold=1.0, delete_pcent_threshold=1.0)
    plan.raise_if_unsafe()
    return plan


# How packages word it that a credential is refused: most have a class of their own (GandiClientForbidden,
# CloudflareAuthenticationError), INWX's tells what the interface said, and Cloudflare calls a token that cannot be one
# "invalid request headers". Then the codes of RFC 2136 and RFC 8945, and how dnspython words the latter.
REFUSED = (
    "(?i:unauthorized|forbidden|authentication|authorization ?error|invalid ?(credential|key)|invalid request headers"
    "|badkey|badsig)|NOTAUTH|REFUSED|didn't know the key|didn't like the signature"
)


def http_status(error: BaseException | None) -> int | None:
    """The HTTP status with which a provider refused: of the error, or of one that it was made from."""
    while error is not None:
        response = getattr(error, "response", None)
        # boto's answers are dictionaries.
        told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        codes = (told, getattr(response, "status_code", None), getattr(error, "code", None))
        status = next((code for code in codes if isinstance(code, int) and code >= 400), None)
        if status:
            return status
        error = error.__cause__ or error.__context__
    return None


def explain(config: ProviderConfig, zone: str, error: Exception) -> ProviderError:
    """Turn what a provider's package raised into a message with a way out. The credentials are not in it."""
    response = getattr(error, "response", None)
    status = http_status(error)
    advice = SPECS[config.type].explain
    if response is not None and hasattr(response, "status_code"):
        text = without_secrets(config, " ".join(str(getattr(response, "text", "")).split()))[:200]
        answer = f"it answers HTTP {response.status_code}" + (f": {text}" if text else "")
    else:
        said = without_secrets(config, str(error).split("\n")[0])
        # requests wraps the reason ("connection refused") in two layers of its own objects.
        reason = re.sub(r"^.*\(Caused by \w+\((?:<[^>]*>: |.*?pool.*?, )?(.*?)\)\)$", r"\1", said)
        answer = f"{type(error).__name__}: {reason}"[:300]
        if status is None and re.search(REFUSED, answer):
            status = 401
    default = f"Check that the provider is reachable, and dns_providers.{config.name}."
    if status in (401, 403):
        secrets = " and ".join(f"dns_providers.{config.name}.{key}" for key in SPECS[config.type].secrets)
        default = f"The credential is not accepted, or may not do this: correct {secrets}."
    # A KeyError is a LookupError too, but tells of an answer that the package did not expect.
    if type(error) is LookupError:
        answer = str(error.args[0])
        default = "Create the zone there, or correct `dns` of the domain in mail_domains."
    answer = answer if answer.endswith(".") else f"{answer}."
    way_out = advice.get(status, default) if status else default
    return ProviderError(config.name, zone, answer, way_out.replace("<name>", config.name))


def run_job(job: Job, write: bool, make: Callable[[ProviderConfig], Any] = make_provider) -> tuple[Done, Any, Any]:
    """Read a zone and work out its plan; write nothing yet.

    A provider that cannot write everything which it holds has `fit(job, outcome)`: it takes out of the outcome what
    it cannot (`hearthmail.ddns.merge.withhold`), and raises nothing because of it.

    :returns: the outcome, the provider and the octoDNS plan (None when nothing has to change).
    """
    try:
        provider = make(job.provider)
        existing = as_remembered(provider, read_zone(provider, job.zone), job)
        there = snapshot(existing)
        if not SPECS[job.provider.type].keeps_ttl:
            there |= {one.key: replace(there[one.key], ttl=one.ttl) for one in job.desired if one.key in there}
        owned = arrived(there, job.owned, job.pending)
        outcome = merge(there, job.desired, owned, job.keep, job.adopt)
        if hasattr(provider, "fit"):
            provider.fit(replace(job, owned=owned), outcome)
        plan = to_plan(provider, existing, outcome.changes) if outcome.changes else None
    except AgentError as error:
        return Done(job.zone, None, False, error), None, None
    except Exception as error:  # noqa: BLE001 - every provider's package raises its own kinds
        return Done(job.zone, None, False, explain(job.provider, job.zone, error)), None, None
    return Done(job.zone, outcome, False, before=owned), provider, plan if write else None


# Told what was read, says into which zones may be written.
Permit = Callable[[list[Done]], Collection[str]]


def _all(readings: list[Done]) -> set[str]:
    return {done.zone for done in readings}


def work(
    jobs: Iterable[Job],
    write: bool,
    stop_on_conflict: bool,
    make: Callable[[ProviderConfig], Any] = make_provider,
    permit: Permit = _all,
) -> Iterator[Done]:
    """Do the jobs: first read all zones, then write.

    :param write: apply the plans; otherwise only tell.
    :param stop_on_conflict: with a conflict or an error in any zone, write nothing in any.
    :param permit: asked once, before the first write, if there is anything to write.
    """
    ready = [(job, *run_job(job, write, make)) for job in jobs]
    stop = stop_on_conflict and any(done.error or (done.merge and done.merge.conflicts) for _, done, _, _ in ready)
    readings = [] if stop else [done for _, done, _, plan in ready if plan is not None]
    permitted = permit(readings) if readings else ()
    refused: dict[str, AgentError] = {}
    for job, done, provider, plan in ready:
        if plan is None or job.zone not in permitted:
            yield done
            continue
        if job.provider.name in refused:
            yield replace(done, error=refused[job.provider.name])
            continue
        if job.unchanged and not unasked(job, job.pending) and not unasked(job, job.owned):
            # It holds this already; but not where another value may have arrived since.
            provider.settled = job.unchanged
        try:
            provider.apply(plan)
        except (StopError, WaitError) as error:
            # Its other zones are not tried: the next request would be one too many.
            refused[job.provider.name] = error
            yield replace(done, error=error)
        except AgentError as error:
            yield replace(done, error=error)
        except Exception as error:  # noqa: BLE001 - as above
            yield replace(done, error=explain(job.provider, job.zone, error))
        else:
            unchanged = frozenset(getattr(provider, "unchanged", ()))
            yield replace(done, written=True, unchanged=unchanged, pause=getattr(provider, "pause", 0))


def _child(
    pipe: Connection, others: Connection, jobs: list[Job], write: bool, stop_on_conflict: bool, limit: float, make: Any
) -> None:
    # The parent may be killed. Then the end of the pipe is seen only if our copy of its end is closed; and nobody but
    # the kernel ends a request that hangs, for as long as which the next run would wait for the lock.
    others.close()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit + 1)

    def permit(readings: list[Done]) -> Collection[str]:
        pipe.send(readings)
        permitted: Collection[str] = pipe.recv()
        return permitted

    with pipe, contextlib.suppress(EOFError, BrokenPipeError):
        for done in work(jobs, write, stop_on_conflict, make, permit):
            pipe.send(done)


def work_limited(
    jobs: list[Job],
    write: bool,
    stop_on_conflict: bool,
    limit: float = HARD_LIMIT,
    make: Callable[[ProviderConfig], Any] = make_provider,
    permit: Permit = _all,
) -> list[Done]:
    """`work` in a child process that is killed after `limit` seconds.

    A zone without an outcome by then gets an error; whatever reached the provider is seen by the next run, which
    reads the zone first.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    arguments = (sender, receiver, jobs, write, stop_on_conflict, limit, make)
    child = context.Process(target=_child, args=arguments, daemon=True)
    child.start()
    sender.close()
    end = time.monotonic() + limit
    results: list[Done] = []
    try:
        while len(results) < len(jobs) and receiver.poll(max(0.0, end - time.monotonic())):
            said = receiver.recv()
            if isinstance(said, Done):
                results.append(said)
            else:
                receiver.send(permit(said))
    except (EOFError, ConnectionError, pickle.UnpicklingError):
        pass
    finally:
        late = time.monotonic() >= end
        child.kill()
        child.join()
        receiver.close()
    finished = {done.zone for done in results}
    why = f"no end after {limit:.0f} s" if late else "the writing process died"
    for job in jobs:
        if job.zone not in finished:
            error = ProviderError(
                job.provider.name,
                job.zone,
                why,
                "The next run reads the zone and goes on from what is there.",
            )
            results.append(Done(job.zone, None, False, error))
    return results
