"""The model that the roles read: exact, sorted, the same at every run."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hearthmail_site import build
from hearthmail_site.model import salt
from hearthmail_site.rendering import hash_password

Site = dict[str, Any]
HASH = "$6$mRn8eg2bqZk1$" + "a" * 86


def fake_hash(password: str, salt_: str, rounds: int) -> str:
    return f"$6${rounds}${salt_}${len(password)}"


def test_the_box_gets_what_the_providers_in_use_need(site: Site) -> None:
    site["dns_providers"] |= {
        "amazon": {"type": "route53", "access_key_id": "AKIA", "secret_access_key": "geheim"},
        "pork": {"type": "porkbun", "api_key": "geheim", "secret_key": "geheim"},
    }
    assert build(site, fake_hash)["dns_packages"] == []
    site["mail_domains"][0]["dns"] = "amazon"
    site["mail_domains"][1]["dns"] = "pork"
    model = build(site, fake_hash)
    assert model["dns_packages"] == ["python3-boto3", "python3-httpx"]
    assert {one["entry"]: one["python"] for one in model["dns_pythons"]} == {"amazon": "3.11", "pork": "3.12"}


def test_the_model_of_the_lab(site: Site) -> None:
    model = build(site, fake_hash)
    assert list(model) == [
        "hostname",
        "domains",
        "dns_providers",
        "dns_packages",
        "dns_pythons",
        "users",
        "aliases",
        "senders",
        "outbound",
        "relay",
        "access",
        "lan_networks",
        "message_size_limit",
        "admin",
        "backup",
        "kit",
        "probe",
    ]
    assert model["hostname"] == "mail.hearth.example"
    assert model["admin"] == "hanako@hearth.example"
    assert model["domains"] == [
        {"name": "hearth.example", "dns": "lab", "dmarc": "none"},
        {"name": "second.example", "dns": "lab", "dmarc": "none"},
    ]
    assert model["dns_providers"]["lab"] == {
        "type": "powerdns",
        "url": "http://api.provider.example:8081",
        "api_key": "lab-api-key",
        "server_id": "localhost",
        "timeout": 5,
        "nameservers": [],
        "min_ttl": 0,
        "daily_writes": None,
    }
    assert model["access"] == {"imap": "world", "pop3": "world", "submission": "world", "managesieve": "lan"}
    assert model["lan_networks"] == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"]
    assert model["message_size_limit"] == 50 * 1024**2
    assert (model["outbound"], model["relay"]) == ("direct", None)
    assert model["kit"] == {"reminder": True, "files": []}


def test_users_are_sorted_and_hashed(site: Site) -> None:
    users = build(site, fake_hash)["users"]
    assert [(user["address"], user["local"], user["domain"], user["quota"]) for user in users] == [
        ("hana@second.example", "hana", "second.example", 0),
        ("hanako@hearth.example", "hanako", "hearth.example", 0),
        ("taro@hearth.example", "taro", "hearth.example", 1024**2),
    ]
    assert users[0]["password_hash"] == "{CRYPT}" + HASH
    assert users[1]["password_hash"] == f"{{CRYPT}}$6$5000${salt('hanako@hearth.example')}$13"


def test_every_domain_answers_its_role_addresses(site: Site) -> None:
    site["mail_aliases"]["abuse@second.example"] = "bob@peer.example"
    site["mail_users"].append({"address": "dmarc@hearth.example", "password_hash": HASH})
    aliases = {alias["address"]: alias["targets"] for alias in build(site, fake_hash)["aliases"]}
    assert list(aliases) == sorted(aliases)
    for domain in ("hearth.example", "second.example"):
        for local in ("postmaster", "hostmaster", "tlsrpt"):
            assert aliases[f"{local}@{domain}"] == ["hanako@hearth.example"]
    assert aliases["abuse@second.example"] == ["bob@peer.example"]
    assert "dmarc@hearth.example" not in aliases
    assert aliases["info@hearth.example"] == ["hanako@hearth.example"]


def test_targets_of_ours_are_lower_case_and_others_as_written(site: Site) -> None:
    site["mail_aliases"]["a@hearth.example"] = ["Taro@Hearth.example", "taro@hearth.example", "Bob@peer.example"]
    aliases = {alias["address"]: alias["targets"] for alias in build(site, fake_hash)["aliases"]}
    assert aliases["a@hearth.example"] == ["taro@hearth.example", "Bob@peer.example"]


def test_senders_are_who_gets_the_mail(site: Site) -> None:
    site["mail_aliases"] |= {
        "all@hearth.example": ["sales@hearth.example", "hana+team@second.example", "bob@peer.example"],
        "away@hearth.example": "bob@peer.example",
    }
    senders = {sender["address"]: sender["logins"] for sender in build(site, fake_hash)["senders"]}
    assert senders["hanako@hearth.example"] == ["hanako@hearth.example"]
    assert senders["info@hearth.example"] == ["hanako@hearth.example"]
    assert senders["postmaster@second.example"] == ["hanako@hearth.example"]
    assert senders["all@hearth.example"] == ["hana@second.example", "hanako@hearth.example", "taro@hearth.example"]
    assert "away@hearth.example" not in senders


@pytest.mark.parametrize(("port", "tls"), [(None, "starttls"), (587, "starttls"), ("465", "wrapper"), (25, "starttls")])
def test_the_relay_is_there_even_when_mail_leaves_directly(site: Site, port: Any, tls: str) -> None:
    site["mail_relay"] = {
        "host": "SMTP.isp.example",
        "user": "hanako@isp.example",
        "password": "hanako-secret",
        "spf": "include:isp.example",
    }
    if port:
        site["mail_relay"]["port"] = port
    relay = build(site, fake_hash)["relay"]
    assert relay == {
        "host": "smtp.isp.example",
        "port": int(port or 587),
        "user": "hanako@isp.example",
        "password": "hanako-secret",
        "spf": "include:isp.example",
        "tls": tls,
    }


def test_the_only_provider_need_not_be_named(site: Site) -> None:
    for domain in site["mail_domains"]:
        del domain["dns"]
    assert [domain["dns"] for domain in build(site, fake_hash)["domains"]] == ["lab", "lab"]


def test_what_was_written_is_left_as_it_is(site: Site) -> None:
    before = repr(site)
    build(site, fake_hash)
    assert repr(site) == before


def test_a_bad_site_has_no_model(site: Site) -> None:
    site["mail_user"] = []
    with pytest.raises(ValueError, match="mail_user"):
        build(site, fake_hash)


def test_the_salt_follows_from_the_address_alone() -> None:
    assert salt("hanako@hearth.example") == salt("hanako@hearth.example")
    assert salt("hanako@hearth.example") != salt("taro@hearth.example")
    assert len(salt("hanako@hearth.example")) == 16


def test_a_second_run_gives_the_same_hash_and_another_user_another_one() -> None:
    first = hash_password("hanako-secret", salt("hanako@hearth.example"), 5000)
    assert first.startswith("$6$")
    assert first == hash_password("hanako-secret", salt("hanako@hearth.example"), 5000)
    assert first != hash_password("hanako-secret", salt("taro@hearth.example"), 5000)
    assert "hanako-secret" not in first


def test_ten_thousand_users_with_hashes_are_quick(site: Site) -> None:
    site["mail_users"] += [
        {
            "address": f"user{n}@hearth.example",
            "password_hash": HASH,
            "aliases": [f"alias{n}@second.example"],
            "quota": "5G",
        }
        for n in range(10_000)
    ]
    start = time.process_time()
    model = build(site, fake_hash)
    # Ten times what it takes: it must not grow faster than the number of users.
    assert time.process_time() - start < 3
    assert len(model["users"]) == 10_003


@pytest.mark.parametrize(("written", "reminds"), [(False, False), ("no", False), ("True", True)])
def test_the_reminder_of_the_kit_can_be_turned_off_in_the_file_or_on_the_command_line(
    site: Site, written: Any, reminds: bool
) -> None:
    assert build({**site, "kit_reminder": written}, fake_hash)["kit"]["reminder"] is reminds


def test_without_a_place_there_are_no_backups(site: Site) -> None:
    assert build(site, fake_hash)["backup"] is None


@pytest.mark.parametrize(
    ("repository", "forgets"), [("/mnt/disk/mail", True), ("rest:https://backup.example/hearth/", False)]
)
def test_old_backups_are_removed_by_the_box_only_from_its_own_disk(site: Site, repository: str, forgets: bool) -> None:
    backup = build({**site, "backup_repository": repository, "backup_password": "a long random one"}, fake_hash)[
        "backup"
    ]
    assert backup["repository"] == repository
    assert backup["forget"] is forgets
    assert backup["interval"] == 3600
    assert backup["keep"] == {"hourly": 48, "daily": 14, "weekly": 8, "monthly": 12}


def test_the_probe_has_a_mailbox_that_takes_no_name_of_the_site(site: Site) -> None:
    probe = build(site, fake_hash)["probe"]
    assert probe["address"] == "hearth-probe@hearthmail.invalid"
    assert len(probe["password"]) == 64
    assert probe["password_hash"] == f"{{CRYPT}}$6$5000${salt(probe['address'])}$64"
    assert build(site, fake_hash)["probe"] == probe
    site["mail_users"][0]["password"] = "another-secret"
    assert build(site, fake_hash)["probe"]["password"] != probe["password"]
