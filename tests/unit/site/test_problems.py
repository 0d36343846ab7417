"""What is wrong with a site is said: all of it, with the variable, the value and the way out, and never a secret."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hearthmail_site import Unreadable, build, examine, spec
from hearthmail_site.values import Kind
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns.providers import SPECS

Site = dict[str, Any]
SECRET = "geheimes-wort-7"
RELAY = {"host": "smtp.isp.example", "user": "hanako@isp.example", "password": SECRET, "spf": "include:isp.example"}


def messages(site: Site) -> list[str]:
    return [str(problem) for problem in examine(site)]


def test_a_good_site_has_no_problem(site: Site) -> None:
    assert messages(site) == []


def setting(path: str, value: Any) -> Callable[[Site], None]:
    """Write a value at a path like `mail_users.0.quota`."""

    def change(site: Site) -> None:
        *way, last = path.split(".")
        place: Any = site
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value

    return change


def removing(path: str) -> Callable[[Site], None]:
    def change(site: Site) -> None:
        *way, last = path.split(".")
        place: Any = site
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        del place[last]

    return change


def renaming(old: str, new: str) -> Callable[[Site], None]:
    def change(site: Site) -> None:
        site[new] = site.pop(old)

    return change


def all_of(*changes: Callable[[Site], None]) -> Callable[[Site], None]:
    def change(site: Site) -> None:
        for one in changes:
            one(site)

    return change


def user(**keys: Any) -> Callable[[Site], None]:
    return lambda site: site["mail_users"].append({"address": "new@hearth.example", "password": SECRET, **keys})


def alias(address: str, target: Any) -> Callable[[Site], None]:
    return lambda site: site["mail_aliases"].__setitem__(address, target)


# What is spoilt, and the parts of the one message that must come: the variable, then the way out.
BAD: dict[str, tuple[Callable[[Site], None], tuple[str, ...]]] = {
    "user without password": (
        removing("mail_users.1.password"),
        ("mail_users[1].password of taro@hearth.example", "neither", 'Write password: "{{ vault_'),
    ),
    "user with both": (
        setting("mail_users.2.password", SECRET),
        ("mail_users[2].password of hana@second.example", "both", "Keep one"),
    ),
    "bad hash": (
        setting("mail_users.2.password_hash", SECRET),
        ("mail_users[2].password_hash of hana@second.example", "doveadm pw"),
    ),
    "weak hash": (
        setting("mail_users.2.password_hash", "{PLAIN}" + SECRET),
        ("mail_users[2].password_hash", "PLAIN is too weak"),
    ),
    "weak password": (
        setting("mail_users.0.password", "hunter2"),
        ("mail_users[0].password of hanako@", "10 characters"),
    ),
    "address as password": (
        setting("mail_users.0.password", "hanako@hearth.example"),
        ("mail_users[0].password", "own address", "Use four words"),
    ),
    "password as number": (
        setting("mail_users.0.password", 12345678901),
        ("mail_users[0].password", "number", "quotes"),
    ),
    "placeholder": (
        setting("mail_users.0.password", "change-me"),
        ("mail_users[0].password", "placeholder", "vault file"),
    ),
    "misspelt key": (
        lambda site: site["mail_users"][1].update(pasword=site["mail_users"][1].pop("password")),
        ("mail_users[1].pasword of Taro@hearth.example", "Write password instead"),
    ),
    "unknown key": (setting("mail_users.1.colour", "red"), ("mail_users[1].colour", "address, aliases")),
    "duplicate user": (
        user(address="hanako@hearth.example"),
        ('mail_users[3].address is "hanako@hearth.example"', "mail_users[0]", "Keep one"),
    ),
    "duplicate user by case": (user(address="HANAKO@Hearth.example"), ("mail_users[3].address", "mail_users[0]")),
    "malformed address": (
        setting("mail_users.1.address", "taro@@hearth.example"),
        ('mail_users[1].address is "taro@@hearth.example"', "exactly one @"),
    ),
    "plus in a mailbox": (user(address="new+x@hearth.example"), ("mail_users[3].address", "Write new@hearth.example")),
    "foreign domain": (
        user(address="new@heart.example"),
        ("mail_users[3].address", "no heart.example", "Write new@hearth.example"),
    ),
    "quota that is no size": (
        setting("mail_users.1.quota", "lots"),
        ('mail_users[1].quota of Taro@hearth.example is "lots"', "such as 5G"),
    ),
    "user without address": (
        removing("mail_users.2.address"),
        ("mail_users[2].address", "missing", "hanako@hearth.example"),
    ),
    "user as text": (
        setting("mail_users.2", "hana@second.example:" + SECRET),
        ("mail_users[2]", "a text", "inventories/example"),
    ),
    "users as a map": (
        setting("mail_users", {"hanako@hearth.example": {"password": SECRET}}),
        ("mail_users", "not a list", "dash"),
    ),
    "no users": (all_of(setting("mail_users", []), setting("mail_aliases", {})), ("mail_users", "at least one")),
    "users missing": (removing("mail_users"), ("mail_users: it is missing", "- {address")),
    "misspelt variable": (renaming("mail_users", "mail_user"), ("mail_user:", "Write mail_users instead")),
    "variable beside the right one": (
        setting("mail_user", []),
        ("mail_user:", "mail_users, which is close", "Put all into mail_users"),
    ),
    "unknown variable": (setting("mail_zzz", 1), ("mail_zzz:", "mail_hostname")),
    "misspelt dns variable": (
        renaming("dns_providers", "dns_provider"),
        ("dns_provider:", "Write dns_providers instead"),
    ),
    "planned variable": (setting("mail_lists", []), ("mail_lists: mailing lists are not supported yet", "Take it out")),
    "planned journal": (setting("backup_journal", "x"), ("backup_journal: a journal of accepted mail off the box",)),
    "a place that is none": (
        setting("backup_repository", "x"),
        ("backup_repository: this is no place that backups go to",),
    ),
    "backup without password": (setting("backup_repository", "/mnt/disk/mail"), ("backup_password: it is missing",)),
    "SFTP without a key": (
        all_of(
            setting("backup_repository", "sftp:hearth@backup.example:mail"),
            setting("backup_password", "a long random one"),
            setting("backup_ssh_host_keys", ["backup.example ssh-ed25519 AAAA"]),
        ),
        ("backup_ssh_key: it is missing",),
    ),
    "a key that is none": (setting("backup_ssh_key", "/root/.ssh/id"), ("backup_ssh_key: this is no private key",)),
    "neither yes nor no": (
        setting("kit_reminder", "later"),
        ('kit_reminder is "later": this is neither true nor false',),
    ),
    "misspelt kit variable": (setting("kit_file", ["~/key"]), ("kit_file:", "Write kit_files instead")),
    "how many to keep": (setting("backup_keep", {"daily": -1}), ("backup_keep.daily",)),
    "nearly a planned variable": (setting("mail_list", []), ("mail_list:", "probably mail_lists", "not supported yet")),
    "alias to nowhere": (
        alias("a@hearth.example", "tarro@hearth.example"),
        (
            "mail_aliases[a@hearth.example]",
            "tarro@hearth.example is neither a user nor an alias",
            "Write taro@hearth.example",
        ),
    ),
    "empty alias": (alias("a@hearth.example", []), ("mail_aliases[a@hearth.example]", "nobody", "at least one")),
    "alias to itself": (
        alias("a@hearth.example", "a+x@hearth.example"),
        ("circle: a@hearth.example -> a@hearth.example",),
    ),
    "aliases in a circle": (
        all_of(
            alias("a@hearth.example", "b@hearth.example"),
            alias("b@hearth.example", ["taro@hearth.example", "a@hearth.example"]),
        ),
        ("circle", "a@hearth.example -> b@hearth.example -> a@hearth.example", "Let one of them end at a user"),
    ),
    "alias that is a user": (
        alias("Taro@hearth.example", "hanako@hearth.example"),
        ("mail_aliases[taro@hearth.example]", "own address", "another"),
    ),
    "user's alias that is a user": (
        setting("mail_users.0.aliases", ["taro@hearth.example"]),
        ("mail_users[0].aliases[0] of hanako@hearth.example", "own address"),
    ),
    "alias twice": (
        alias("info@hearth.example", "taro@hearth.example"),
        ("mail_aliases[info@hearth.example]", "mail_users[0].aliases[0]"),
    ),
    "alias twice by case": (
        alias("SALES@hearth.example", "taro@hearth.example"),
        ("mail_aliases[SALES@hearth.example]", "twice"),
    ),
    "alias in a foreign domain": (
        alias("a@peer.example", "taro@hearth.example"),
        ("mail_aliases[a@peer.example]", "no peer.example"),
    ),
    "catch-all": (alias("@hearth.example", "taro@hearth.example"), ("mail_aliases[@hearth.example]", "each address")),
    "malformed target": (
        alias("a@hearth.example", ["taro"]),
        ('mail_aliases[a@hearth.example][0] is "taro"', "in full"),
    ),
    "too many targets": (
        alias("a@hearth.example", [f"u{n}@peer.example" for n in range(1001)]),
        ("mail_aliases[a@hearth.example]", "1001 addresses", "Divide"),
    ),
    "invalid domain": (
        setting("mail_domains.1.name", "second_example"),
        ('mail_domains[1].name is "second_example"', "in full"),
    ),
    "domain in other letters": (
        all_of(setting("mail_domains.1.name", "münchen.example"), removing("mail_users.2.address")),
        ('mail_domains[1].name is "münchen.example"', "xn--mnchen-3ya.example"),
    ),
    "duplicate domain": (
        setting("mail_domains", [{"name": "hearth.example"}, {"name": "second.example"}, {"name": "Hearth.example"}]),
        ("mail_domains[2].name", "mail_domains[0]"),
    ),
    "no domains": (setting("mail_domains", []), ("mail_domains", "at least one")),
    "unknown provider": (
        setting("mail_domains.0.dns", "lap"),
        ('mail_domains[0].dns of hearth.example is "lap"', "Write lab"),
    ),
    "provider not said": (
        all_of(removing("mail_domains.0.dns"), setting("dns_providers.other", {"type": "none"})),
        ("mail_domains[0].dns of hearth.example", "missing", "lab, other"),
    ),
    "no provider": (setting("dns_providers", {}), ("dns_providers", "type: none")),
    "unknown provider type": (
        setting("dns_providers.lab.type", "power-dns"),
        ('dns_providers.lab.type is "power-dns"', "Write powerdns"),
    ),
    "provider type missing": (
        removing("dns_providers.lab.type"),
        ("dns_providers.lab.type", "missing", "none, ", "powerdns"),
    ),
    "missing credential": (
        removing("dns_providers.lab.api_key"),
        ("dns_providers.lab.api_key", "missing", "vault_dns_api_key"),
    ),
    "unknown provider key": (setting("dns_providers.lab.apikey", SECRET), ("dns_providers.lab.apikey", "api_key")),
    "login in the URL": (
        setting("dns_providers.lab.url", f"https://me:{SECRET}@dns.provider.example"),
        ("dns_providers.lab.url", "login", "their own keys"),
    ),
    "hostname elsewhere": (
        setting("mail_hostname", "mail.peer.example"),
        ('mail_hostname is "mail.peer.example"', "mail.hearth.example"),
    ),
    "hostname is a domain": (
        setting("mail_hostname", "hearth.example"),
        ("mail_hostname", "website", "mail.hearth.example"),
    ),
    "relay missing": (
        setting("mail_outbound", "relay"),
        ("mail_relay", "mail_outbound is relay", "mail_outbound: direct"),
    ),
    "relay's SPF missing": (
        all_of(setting("mail_outbound", "relay"), setting("mail_relay", {**RELAY, "spf": None})),
        ("mail_relay.spf", "forged", "include:isp.example"),
    ),
    "relay's port": (
        setting("mail_relay", {**RELAY, "port": 70000}),
        ('mail_relay.port of smtp.isp.example is "70000"', "65535"),
    ),
    "relay's name": (setting("mail_relay", {**RELAY, "host": "198.51.100.70"}), ("mail_relay.host", "a name")),
    "relay's login missing": (
        setting("mail_relay", {"host": "smtp.isp.example", "password": SECRET}),
        ("mail_relay.user of smtp.isp.example", "missing"),
    ),
    "outbound": (setting("mail_outbound", "smarthost"), ('mail_outbound is "smarthost"', "direct or relay")),
    "outbound auto": (setting("mail_outbound", "auto"), ("mail_outbound", "not supported yet", "direct or relay")),
    "access": (setting("mail_access", {"imap": "home"}), ('mail_access.imap is "home"', "lan, vpn or world")),
    "access off": (setting("mail_access", {"pop3": False}), ("mail_access.pop3", "lan, vpn or world")),
    "access of a planned service": (
        setting("mail_access", {"webmail": "lan"}),
        ("mail_access.webmail", "not supported yet"),
    ),
    "network": (
        setting("mail_lan_networks", ["192.168.1.7/24"]),
        ('mail_lan_networks[0] is "192.168.1.7/24"', "192.168.1.0/24"),
    ),
    "message size": (setting("mail_message_size_limit", "10k"), ('mail_message_size_limit is "10k"', "50M")),
    "dmarc": (setting("mail_domains.0.dmarc", "strict"), ("mail_domains[0].dmarc of hearth.example", "quarantine")),
    "undefined vault variable": (
        setting(
            "mail_users.0.password",
            Unreadable("the variable behind it is not there ('vault_x' is undefined)", "add it"),
        ),
        ("mail_users[0].password of hanako@hearth.example", "vault_x", "Add it"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message_with_the_variable_and_the_way_out(case: str, site: Site) -> None:
    change, parts = BAD[case]
    change(site)
    # Other messages may follow from the same mistake, but only about what leans on it.
    found = messages(site)
    assert [message for message in found if all(part in message for part in parts)], found
    assert SECRET not in "\n".join(found)


# Mistakes from which others follow; every other one gets exactly one message.
FOLLOWED = {
    "invalid domain",
    "domain in other letters",
    "no domains",
    "too many targets",
    "user as text",
    "user without address",
    "unknown provider key",
}


@pytest.mark.parametrize("case", sorted(BAD.keys() - FOLLOWED))
def test_one_mistake_is_told_once(case: str, site: Site) -> None:
    BAD[case][0](site)
    assert len(messages(site)) == 1, messages(site)


def test_all_problems_are_told_together(site: Site) -> None:
    for case in (
        "quota that is no size",
        "misspelt key",
        "planned variable",
        "missing credential",
        "relay missing",
        "duplicate user",
    ):
        BAD[case][0](site)
    assert len(messages(site)) == 6


def test_renamed_variables_and_keys_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = spec.Entry(spec.VARIABLES, renamed={"mail_people": "mail_users"})
    monkeypatch.setattr("hearthmail_site.model.SITE", renamed)
    renaming("mail_users", "mail_people")(site)
    assert messages(site) == ["mail_people: this is now called mail_users. Change its name."]


def test_variables_of_others_are_no_matter(site: Site) -> None:
    assert messages({**site, "postfix_queue_minfree": 1, "lab_dns_nodes": {}, "ansible_host": "x"}) == []


def test_a_variable_with_nothing_behind_it_is_left_out(site: Site) -> None:
    assert messages({**site, "mail_aliases": None, "mail_relay": None, "mail_access": None}) == []


def test_a_long_chain_of_aliases_is_followed(site: Site) -> None:
    for n in range(3000):
        site["mail_aliases"][f"a{n}@hearth.example"] = f"a{n + 1}@hearth.example"
    site["mail_aliases"]["a3000@hearth.example"] = "a0@hearth.example"
    found = messages(site)
    assert len(found) == 1
    assert "circle" in found[0]


def test_role_addresses_are_targets_like_others(site: Site) -> None:
    alias("root@hearth.example", "postmaster@second.example")(site)
    assert messages(site) == []


def test_a_user_may_be_postmaster(site: Site) -> None:
    user(address="postmaster@hearth.example")(site)
    assert messages(site) == []


def test_the_providers_are_those_that_the_agent_knows() -> None:
    assert set(spec.PROVIDERS.types) == set(SPECS)
    for name, agent in SPECS.items():
        keys = spec.PROVIDERS.types[name]
        assert {key.name for key in keys if isinstance(key.default, spec.Required)} == set(agent.required)
        assert {key.name: key.default for key in keys if not isinstance(key.default, spec.Required)} == agent.defaults
        assert {key.name for key in keys if isinstance(key.shape, Kind) and key.shape.secret} == set(agent.secrets)


@pytest.mark.parametrize("name", sorted(name for name, agent in SPECS.items() if agent.required))
def test_a_missing_credential_is_named(site: Site, name: str) -> None:
    site["dns_providers"] = {"home": {"type": name}}
    said = messages(site)
    for key in SPECS[name].required:
        assert any(one.startswith(f"dns_providers.home.{key}: it is missing") for one in said), said


def documented(name: str) -> Site:
    """Give an entry with every key as the documentation shows it."""
    examples = {option.name: yaml.safe_load(option.example) for option in SPECS[name].options if not option.secret}
    return {"type": name, **examples, **dict.fromkeys(SPECS[name].secrets, SECRET)}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_key_may_be_written_as_it_is_documented(site: Site, name: str) -> None:
    site["dns_providers"]["lab"] = documented(name)
    assert messages(site) == []


KEY_KINDS = [
    ("dyndns2", "service", "noipp", ("is none of the words",)),
    ("dyndns2", "url", f"https://dyn.example/nic?token={SECRET}", ("a login or a parameter",)),
    ("dyndns2", "url", f"https://me:{SECRET}@dyn.example/nic", ("a login or a parameter",)),
    ("dyndns2", "url", "http://dyn.example/nic/update", ("not an https address",)),
    ("dyndns2", "url", "dyn.example", ("no web address",)),
    ("dyndns2", "hostnames", "mail", ("two parts",)),
    ("dyndns2", "hostnames", [], ("hostnames holds nothing",)),
    ("dyndns2", "timeout", 0, ("from 1 to 120",)),
    ("dyndns2", "plain_http", "perhaps", ("true or false",)),
    ("dyndns2", "attempt", "once more", ("no number",)),
    ("dyndns2", "username", None, ("lacks username",)),
    ("lexicon", "types", ["A", "HINFO"], ("none of the words", "TLSA")),
    ("lexicon", "mx_priority", "before", ("content or apart",)),
    ("lexicon", "timeout", 999, ("from 1 to 120",)),
    ("namecheap", "auth_client_ip", "not an address", ("dns_providers.lab.auth_client_ip",)),
    ("netcup", "auth_customer_id", 12345, ("Put it in quotes",)),
]


@pytest.mark.parametrize(("name", "key", "value", "said"), KEY_KINDS)
def test_a_wrong_value_of_a_provider_is_named(
    site: Site, name: str, key: str, value: Any, said: tuple[str, ...]
) -> None:
    site["dns_providers"]["lab"] = {**documented(name), key: value}
    (found,) = messages(site)
    assert found.startswith("dns_providers.lab")
    assert all(part in found for part in (key.partition("[")[0], *said)), found
    assert SECRET not in found


def test_an_update_service_needs_a_name_or_an_address(site: Site) -> None:
    site["dns_providers"]["lab"] = {**documented("dyndns2"), "service": None, "url": None}
    assert messages(site) == [
        "dns_providers.lab: names neither a service nor a url. "
        "Write dns_providers.lab.service or dns_providers.lab.url."
    ]


def test_the_type_lexicon_takes_the_keys_of_its_modules(site: Site) -> None:
    keys = {"auth_token": SECRET, "auth_anything": SECRET, "pdns_server": "https://pdns.example"}
    site["dns_providers"]["lab"] = {"type": "lexicon", "module": "powerdns", "auth_password": None, **keys}
    assert messages(site) == []
    model = build(site, lambda _password, salt, _rounds: f"$6${salt}$x")
    assert {key: model["dns_providers"]["lab"][key] for key in keys} == keys
    assert "auth_password" not in model["dns_providers"]["lab"]


@pytest.mark.parametrize("name", sorted(name for name in SPECS if name != "lexicon"))
def test_no_other_type_takes_keys_that_it_does_not_know(site: Site, name: str) -> None:
    site["dns_providers"]["lab"] = {**documented(name), "auth_anything": SECRET}
    (found,) = messages(site)
    assert found.startswith("dns_providers.lab.auth_anything: no such key is known")
    assert SECRET not in found


@pytest.mark.parametrize(
    ("key", "value"),
    [("auth_token", f"{SECRET}\n"), ("auth_token", [SECRET]), ("auth_key", 1234), ("pdns_server", f" {SECRET}")],
)
def test_a_key_of_a_module_is_a_secret(site: Site, key: str, value: Any) -> None:
    site["dns_providers"]["lab"] = {**documented("lexicon"), key: value}
    (found,) = messages(site)
    assert found.startswith(f"dns_providers.lab.{key}: ")
    assert SECRET not in found
    assert "1234" not in found


def test_a_slip_of_the_pen_is_no_key_of_a_module(site: Site) -> None:
    site["dns_providers"]["lab"] = {**documented("lexicon"), "tpyes": ["A"]}
    assert messages(site) == [
        "dns_providers.lab.tpyes: no such key is known, and types, which is close, is there as "
        "well. Put all into types, or take it out."
    ]


def test_no_provider_key_stands_for_two_things() -> None:
    for name in spec.PROVIDERS.types:
        keys = [key.name for key in spec.PROVIDERS.entry(name).keys]
        assert len(keys) == len(set(keys))


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["lab", "hanako@hearth.example", "hearth.example"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = [variable.name for variable in spec.VARIABLES]


@given(st.dictionaries(st.sampled_from(NAMES), JUNK))
def test_any_junk_gets_messages_never_a_crash(junk: Site) -> None:
    assert messages(junk)


@given(
    st.sampled_from(["mail_users.0", "mail_users.1", "mail_relay", "dns_providers.lab"]),
    st.sampled_from(["api_key", "password", "password_hash", "pasword", "secret"]),
    st.sampled_from([f"{{PLAIN}}{SECRET}\n", f"{{{SECRET}}}", [SECRET], {SECRET: SECRET}]),
)
def test_a_secret_is_never_shown(place: str, key: str, value: Any) -> None:
    site: Site = {
        "mail_domains": [{"name": "hearth.example"}],
        "dns_providers": {"lab": {"type": "powerdns", "url": "http://api.provider.example", "api_key": "lab-api-key"}},
        "mail_users": [
            {"address": "hanako@hearth.example", "password": "hanako-secret"},
            {"address": "taro@hearth.example"},
        ],
        "mail_relay": copy.deepcopy(RELAY),
    }
    setting(f"{place}.{key}", value)(site)
    assert SECRET not in "\n".join(messages(site))
