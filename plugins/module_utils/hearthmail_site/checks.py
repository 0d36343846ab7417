"""What the variables of a site must be together, once each of them is good by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .reader import BAD, Reader, nearest, nearest_address
from .spec import ROLE_ADDRESSES, SPECS, ConfigError

# Postfix gives up on an address that leads to more (virtual_alias_expansion_limit).
MAX_RECIPIENTS = 1000


def entries(site: Mapping[str, Any], variable: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the good entries of a list with their paths."""
    for index, entry in enumerate(site.get(variable) or ()):
        if entry is not BAD:
            yield f"{variable}[{index}]", entry


def base_address(address: str) -> str:
    """Take the +detail out of an address."""
    local, _, domain = address.rpartition("@")
    return f"{local.split('+')[0]}@{domain}"


def role_addresses(site: Mapping[str, Any]) -> list[str]:
    """Name the addresses that every domain answers."""
    domains = [entry["name"] for _, entry in entries(site, "mail_domains") if "name" in entry]
    return [f"{local}@{domain}" for domain in domains for local in ROLE_ADDRESSES]


def own_domains(site: Mapping[str, Any]) -> set[str]:
    """Name the domains whose mail is ours."""
    return {entry["name"] for _, entry in entries(site, "mail_domains") if "name" in entry}


def resolve_target(target: str, domains: set[str]) -> str:
    """Bring a target that is ours into lower case; others stay as written."""
    return target.lower() if target.rpartition("@")[2] in domains else target


def check(site: Mapping[str, Any], reader: Reader) -> None:
    """Report all that does not fit together."""
    _check_domains(site, reader)
    _check_users(site, reader)
    _check_aliases(site, reader)
    _check_outbound(site, reader)
    _check_backup(site, reader)


def _check_providers(providers: Mapping[str, Any], reader: Reader) -> None:
    """Ask the agent's own check of a type, where there is one and each key by itself is good."""
    for name, entry in providers.items():
        path = f"dns_providers.{name}"
        check = SPECS[entry["type"]].check if "type" in entry else None
        if check is None or _reported(reader, path):
            continue
        try:
            check(name, entry)
        except ConfigError as error:
            why = error.problem.removeprefix(path).lstrip(". ").rstrip(".")
            reader.report(path, why, error.way_out.rstrip("."))


def _check_domains(site: Mapping[str, Any], reader: Reader) -> None:
    if site.get("mail_domains") == []:
        reader.report("mail_domains", "there is no domain in it", "write at least one")
    providers = site.get("dns_providers")
    if providers == {} and not _reported(reader, "dns_providers"):
        reader.report(
            "dns_providers", "there is no provider in it", "write home: {type: none} to enter the records yourself"
        )
    _check_providers(providers or {}, reader)
    seen: dict[str, str] = {}
    for path, entry in entries(site, "mail_domains"):
        name = entry.get("name")
        if name in seen:
            reader.report(f"{path}.name", f"the domain already stands in {seen[name]}", "keep one of them", value=name)
        elif name:
            seen[name] = path
        if not providers or "dns" not in entry:
            continue
        if entry["dns"] is None:
            if len(providers) != 1:
                reader.report(
                    f"{path}.dns",
                    "it is missing",
                    f"write one of the dns_providers: {_listed(providers)}",
                    str(name or ""),
                )
        elif entry["dns"] not in providers and not _reported(reader, f"dns_providers.{entry['dns']}"):
            guess = nearest(entry["dns"], providers)
            way_out = f"write {guess}" if guess else f"add it there, or write one of {_listed(providers)}"
            reader.report(
                f"{path}.dns", "dns_providers has no entry of this name", way_out, str(name or ""), entry["dns"]
            )
    hostname = site.get("mail_hostname")
    domains = own_domains(site)
    if hostname and domains and _all_good(site, "mail_domains", "name"):
        if hostname in domains:
            reader.report(
                "mail_hostname",
                "this is one of mail_domains, where the address of its website stands",
                f"leave it out (the box is then mail.{next(iter(seen))}), or write a name like mail.{hostname}",
                value=hostname,
            )
        elif not any(hostname.endswith(f".{domain}") for domain in domains):
            reader.report(
                "mail_hostname",
                "it is in none of mail_domains, so nobody would keep its address right",
                f"write a name like mail.{next(iter(seen))}",
                value=hostname,
            )


def _check_users(site: Mapping[str, Any], reader: Reader) -> None:
    if site.get("mail_users") == []:
        reader.report("mail_users", "there is no user in it", "write at least one: postmaster's mail goes to the first")
    seen: dict[str, str] = {}
    for path, user in entries(site, "mail_users"):
        address = user.get("address")
        who = address or ""
        if address in seen:
            reader.report(
                f"{path}.address", f"the user already stands in {seen[address]}", "keep one of them", value=address
            )
        elif address:
            seen[address] = path
            _check_domain_is_ours(site, reader, f"{path}.address", address)
        if "password" not in user or "password_hash" not in user:
            continue  # reported when it was read
        if user["password"] is None and user["password_hash"] is None:
            reader.report(
                f"{path}.password",
                "the user has neither password nor password_hash",
                'write password: "{{ vault_... }}" and put the secret into the vault file',
                who,
            )
        elif user["password"] is not None and user["password_hash"] is not None:
            reader.report(f"{path}.password", "the user has both password and password_hash", "keep one of them", who)
        elif user["password"] and address and user["password"].lower() in (address, *address.split("@")):
            reader.report(
                f"{path}.password", "it is the user's own address", "use four words that do not belong together", who
            )


def _check_domain_is_ours(site: Mapping[str, Any], reader: Reader, path: str, address: str) -> None:
    domains = own_domains(site)
    domain = address.rpartition("@")[2]
    # A domain that is itself written wrong has its own message.
    if domain in domains or not _all_good(site, "mail_domains", "name"):
        return
    guess = nearest(domain, domains)
    hint = f"write {address.rpartition('@')[0]}@{guess}, or add" if guess else "correct it, or add"
    reader.report(path, f"mail_domains has no {domain}", f"{hint} the domain to mail_domains", value=address)


def alias_sources(site: Mapping[str, Any]) -> Iterator[tuple[str, str, str, list[Any]]]:
    """Give every written alias: path, whose it is, address, targets; a bad target is `BAD`."""
    domains = own_domains(site)
    for path, user in entries(site, "mail_users"):
        for index, alias in enumerate(user.get("aliases") or ()):
            if alias is not BAD and user.get("address"):
                yield f"{path}.aliases[{index}]", user["address"], alias, [user["address"]]
    for alias, targets in (site.get("mail_aliases") or {}).items():
        yield f"mail_aliases[{alias}]", "", alias, [t if t is BAD else resolve_target(t, domains) for t in targets]


def _check_aliases(site: Mapping[str, Any], reader: Reader) -> None:
    users = {user["address"] for _, user in entries(site, "mail_users") if "address" in user}
    domains = own_domains(site)
    graph: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for path, who, alias, targets in alias_sources(site):
        if alias in users:
            reader.report(
                path,
                "this is a user's own address",
                "choose another address for the alias, or for the user",
                who,
                alias,
            )
            continue
        if alias in graph:
            reader.report(
                path, f"the alias already stands in {paths[alias]}", "put all targets into one of them", who, alias
            )
            continue
        _check_domain_is_ours(site, reader, path, alias)
        if not targets:
            reader.report(path, "nobody gets its mail", "write at least one address behind it, or take it out")
        graph[alias] = [target for target in targets if target is not BAD]
        paths[alias] = path
    for address in role_addresses(site):
        if address not in users:
            graph.setdefault(address, [])
    if not _all_good(site, "mail_users", "address") or not _all_good(site, "mail_domains", "name"):
        return  # a target may be the address that is written wrong: first things first
    exists = users | graph.keys()
    for alias, path in paths.items():
        for target in graph[alias]:
            if target.rpartition("@")[2] in domains and target not in exists and base_address(target) not in exists:
                guess = nearest_address(target, exists)
                hint = f"write {guess}" if guess else "correct it"
                reader.report(
                    path,
                    f"its target {target} is neither a user nor an alias",
                    f"{hint}, or add the user to mail_users",
                )
    if _check_circles(graph, users, paths, reader):
        return
    for alias, path in paths.items():
        if len(found := recipients(alias, graph, users)) > MAX_RECIPIENTS:
            reader.report(
                path,
                f"its mail goes to {len(found)} addresses, and Postfix stops at {MAX_RECIPIENTS}",
                "divide it into several aliases",
            )


def _check_circles(graph: Mapping[str, list[str]], users: set[str], paths: Mapping[str, str], reader: Reader) -> bool:
    """Report aliases that lead back to themselves; say whether there are any."""
    done: set[str] = set()
    found = False
    for start in paths:
        # A walk without recursion: a chain of aliases may be longer than Python's stack.
        trail: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        on_trail: set[str] = set()
        while stack:
            address, leave = stack.pop()
            if leave:
                trail.pop()
                on_trail.discard(address)
                done.add(address)
                continue
            if address in on_trail:
                found = True
                circle = [*trail[trail.index(address) :], address]
                reader.report(
                    paths.get(address, f"mail_aliases[{address}]"),
                    f"its mail goes round in a circle: {' -> '.join(circle)}",
                    "let one of them end at a user",
                )
                continue
            if address in done:
                continue
            trail.append(address)
            on_trail.add(address)
            stack.append((address, True))
            stack.extend(
                (step, False) for target in graph.get(address, ()) if (step := next_step(target, graph, users))
            )
    return found


def recipients(alias: str, aliases: Mapping[str, list[str]], users: set[str]) -> set[str]:
    """Follow an alias to its ends: users, or addresses elsewhere. There must be no circle."""
    ends: set[str] = set()
    seen = {alias}
    todo = [alias]
    while todo:
        for target in aliases[todo.pop()]:
            step = next_step(target, aliases, users)
            if step is None:
                ends.add(target if target in users or base_address(target) not in users else base_address(target))
            elif step not in seen:
                seen.add(step)
                todo.append(step)
    return ends


def next_step(target: str, graph: Mapping[str, Any], users: set[str]) -> str | None:
    """Say which alias a target is: as written, else without its +detail; None: it is a user, or elsewhere."""
    for address in (target, base_address(target)):
        if address in users:
            return None
        if address in graph:
            return address
    return None


def _check_outbound(site: Mapping[str, Any], reader: Reader) -> None:
    if site.get("mail_outbound") != "relay" or "mail_relay" not in site:
        return
    relay = site["mail_relay"]
    if relay is None:
        reader.report(
            "mail_relay",
            "it is missing, and mail_outbound is relay",
            "write the provider's submission server, or mail_outbound: direct",
        )
    elif "spf" in relay and relay["spf"] is None:
        reader.report(
            "mail_relay.spf",
            "it is missing, and others would take mail that comes from the relay for forged",
            "write what the provider of the relay names, such as include:isp.example",
        )


def _check_backup(site: Mapping[str, Any], reader: Reader) -> None:
    repository = site.get("backup_repository")
    if repository is None:
        return
    if "backup_password" in site and site["backup_password"] is None:
        reader.report(
            "backup_password",
            "it is missing, and backups go to backup_repository",
            "write a long random one into the vault (vault_backup_password)",
        )
    if not repository.startswith("sftp:"):
        return
    for name, way_out in (
        ("backup_ssh_key", "make one: ssh-keygen -t ed25519 -N '' -f backup_key"),
        ("backup_ssh_host_keys", "write the lines which ssh-keyscan prints for the host"),
    ):
        if name in site and not site[name]:
            reader.report(name, "it is missing, and backup_repository is reached by SFTP", way_out)


def _all_good(site: Mapping[str, Any], variable: str, key: str) -> bool:
    """Whether every entry of a list has a good value of a key."""
    listed = site.get(variable)
    return listed is not None and all(entry is not BAD and key in entry for entry in listed)


def _reported(reader: Reader, path: str) -> bool:
    return any(problem.path == path or problem.path.startswith(f"{path}.") for problem in reader.problems)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "(there is none yet)"
