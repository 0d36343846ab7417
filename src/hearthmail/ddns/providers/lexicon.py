"""Providers that octoDNS does not know, through dns-lexicon (https://dns-lexicon.github.io/dns-lexicon/).

Here is what an entry needs and what each of lexicon's modules can hold; `lexicon_bridge` does the work.
What a module cannot do is not in its `holds`: read from lexicon 3.25 and the pages named here, without an account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.providers.spec import ALL_TYPES, Option, ProviderSpec

# Keys of an entry that are ours; all others go to lexicon.
OUR_KEYS = frozenset({"type", "module", "types", "timeout", "nameservers", "min_ttl", "daily_writes", "mx_priority"})
# The keys of lexicon's modules: nearly all begin with auth_. Any other word is a slip of the pen.
MODULES_KEYS = (
    "api_endpoint api_key api_protocol cloud_id ddns_server dns_zone_id endpoint filename folder_id ib_host ib_view "
    "pdns_disable_notify pdns_server pdns_server_id plesk_server port private_zone resource_group retry_wait_time "
    "secret_id secret_key sleep_time weight zone_id"
)
USUAL = frozenset({"A", "AAAA", "CNAME", "MX", "SRV", "TXT"})

TIMEOUT = Option("timeout", "Seconds to wait for each answer.", "10", required=False, default=10, kind="seconds")


def make(module: str, spec: ProviderSpec, name: str, options: Mapping[str, Any]) -> Any:
    """Make the octoDNS provider of an entry; nobody is asked yet.

    :raises ConfigError: when there is no such module, or it cannot be used here.
    """
    from hearthmail.ddns.providers.lexicon_bridge import LexiconProvider

    return LexiconProvider(name, module, spec.held(options), {**spec.defaults, **options})


def _spec(
    module: str,
    title: str,
    page: str,
    options: tuple[Option, ...],
    holds: frozenset[str],
    min_ttl: int = 0,
    scope: str = "",
    limits: str = "",
    reads: bool = True,
) -> ProviderSpec:
    def make_one(name: str, given: Mapping[str, Any]) -> Any:
        return make(module, spec, name, given)

    spec = ProviderSpec(
        type=module,
        title=title,
        page=page,
        options=(*options, TIMEOUT),
        make=make_one,
        holds=holds,
        min_ttl=min_ttl,
        scope=scope,
        limits=limits,
        keeps_ttl=False,
        reads=reads,
    )
    return spec


def _secret(name: str, meaning: str) -> Option:
    return Option(name, meaning, f"{{{{ vault_dns_{name.removeprefix('auth_')} }}}}", secret=True)


def _words(options: Mapping[str, Any]) -> set[str]:
    given = options.get("types") or USUAL
    return {str(one).upper() for one in (given.replace(",", " ").split() if isinstance(given, str) else given)}


def _types_of(options: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(_words(options)) & ALL_TYPES


def _make_any(name: str, options: Mapping[str, Any]) -> Any:
    module = str(options["module"])
    unknown = _words(options) - ALL_TYPES
    if unknown:
        raise ConfigError(
            f"dns_providers.{name}.types holds {', '.join(sorted(unknown))}.",
            f"It takes {', '.join(sorted(ALL_TYPES))}.",
        )
    return make(module, ANY, name, options)


ANY = ProviderSpec(
    type="lexicon",
    title="Any other of dns-lexicon's modules",
    page="https://dns-lexicon.github.io/dns-lexicon/configuration_reference.html",
    options=(
        Option("module", "The module's name. Its own keys (`auth_token` ...) stand beside it.", "powerdns"),
        Option(
            "types",
            "The types of records that it can hold.",
            "[A, AAAA, CNAME, MX, TXT]",
            required=False,
            default=tuple(sorted(USUAL)),
            kind="choices",
            choices=tuple(sorted(ALL_TYPES)),
        ),
        Option(
            "mx_priority",
            "Where the module wants the preference of an MX record: in its `content`, or `apart`.",
            "apart",
            required=False,
            default="content",
            kind="choice",
            choices=("content", "apart"),
        ),
        TIMEOUT,
    ),
    make=_make_any,
    holds=ALL_TYPES,
    holds_of=_types_of,
    further=rf"auth_[a-z0-9_]+|{'|'.join(MODULES_KEYS.split())}",
    scope="The module's own keys stand in the list at the address above, without the name of the module: `auth_token` "
    "and the like. Each counts as a secret and is never shown. Get a credential that can do as little as possible.",
    limits="Only powerdns and the modules which have a type of their own are tested here, against imitations of the "
    "providers. After writing the agent looks whether all other records are still there. TTLs are not compared.",
    keeps_ttl=False,
)

SPECS: tuple[ProviderSpec, ...] = (
    _spec(
        "dynu",
        "Dynu",
        "https://www.dynu.com/en-US/Support/API",
        (_secret("auth_token", "The API key: Control Panel, API Credentials."),),
        USUAL,
        scope="There is one API key for the whole account: Control Panel, API Credentials. It never expires; it can be "
        "reset there.",
        limits="The free service holds only some records of a domain (https://www.dynu.com/en-US/Membership).",
    ),
    _spec(
        "gehirn",
        "Gehirn",
        "https://support.gehirn.jp/apidocs/gis/dns/index.html",
        (
            _secret("auth_token", "The token of an API client with rights on DNS."),
            _secret("auth_secret", "The secret of the API client."),
        ),
        USUAL,
        scope="Make an API client for this box alone, with rights on DNS and on nothing else.",
    ),
    _spec(
        "valuedomain",
        "Value-Domain",
        "https://www.value-domain.com/vdapi/",
        (_secret("auth_token", "The token of the API, with this box's address allowed."),),
        USUAL,
        scope="The token reaches all domains of the account.",
        limits="A zone is written as a whole: what somebody else changes in the same seconds is lost. One TTL counts "
        "for all records of the zone, and the agent leaves it as it is.",
    ),
    _spec(
        "namecheap",
        "Namecheap",
        "https://www.namecheap.com/support/api/methods/domains-dns/set-hosts.aspx",
        (
            Option("auth_username", "The account's user name.", "hanako"),
            _secret("auth_token", "The API key: Profile, Tools, API Access; this box's address must be allowed there."),
            Option(
                "auth_client_ip",
                "The address that is allowed there.",
                "192.0.2.1",
                required=False,
                default="127.0.0.1",
                kind="host",
            ),
        ),
        # The interface replaces all records of a domain at once, and knows neither SRV nor TLSA.
        frozenset({"A", "AAAA", "CNAME", "MX", "TXT"}),
        min_ttl=60,
        scope="The key reaches the whole account.",
        limits="Only listed IPv4 addresses are let in: when yours changes, the agent is refused until you allow the "
        "new one. So it suits a line with a fixed address; else use `type: none` or move the zone. A zone is written "
        "as a whole: what somebody else changes in the same seconds is lost.",
    ),
    _spec(
        "netcup",
        "netcup",
        "https://ccp.netcup.net/run/webservice/servers/endpoint.php",
        (
            Option("auth_customer_id", "The customer number.", '"12345"'),
            _secret("auth_api_key", "The API key: Customer Control Panel, Master Data, API."),
            _secret("auth_api_password", "The API password, from the same page."),
        ),
        ALL_TYPES - {"SRV"},
        scope="The API password is one for the whole customer account. Make an API key for this box alone: it can be "
        "removed by itself.",
        limits="One TTL counts for all records of the zone; the agent leaves it as it is.",
    ),
    _spec(
        "godaddy",
        "GoDaddy",
        "https://developer.godaddy.com/doc/endpoint/domains",
        (
            _secret("auth_key", "The key of the production API; GoDaddy gives it to accounts with 10 domains or more."),
            _secret("auth_secret", "The secret of the key."),
        ),
        frozenset({"A", "AAAA", "CNAME", "MX", "TXT"}),
        min_ttl=600,
        scope="A key and its secret reach all domains of the account.",
        limits="60 requests a minute. After a write it takes no other for some seconds.",
    ),
    _spec(
        "ionos",
        "IONOS",
        "https://developer.hosting.ionos.com/docs/dns",
        (_secret("api_key", "Prefix and key, joined by a dot, from developer.hosting.ionos.com/keys."),),
        ALL_TYPES,
        min_ttl=60,
        scope="Make a key for this box alone. It reaches all domains of the account.",
    ),
    _spec(
        "duckdns",
        "Duck DNS",
        "https://www.duckdns.org/spec.jsp",
        (_secret("auth_token", "The account's token, from the page after signing in."),),
        # Its only TXT value shows at every name of the domain at once: of no use to records with fixed meanings.
        frozenset({"A", "AAAA"}),
        min_ttl=60,
        scope="There is one token, for all names of the account.",
        limits="One IPv4 and one IPv6 address for a name under duckdns.org; all other records cannot stand there.",
        reads=False,
    ),
    ANY,
)
