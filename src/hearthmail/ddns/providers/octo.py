"""The types that octoDNS' own packages serve: one row each. What a package does wrong stands in `quirks.py`.

To add one: a row here, its package in src/requirements-agent.in (`make pins`), and the tests run over it by themselves.
A package is imported when a provider of its type is made, and never before.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.providers import quirks
from hearthmail.ddns.providers.limits import PAUSE, READ, RETRIES, TIMEOUT, limit
from hearthmail.ddns.providers.spec import ALL_TYPES, Option, ProviderSpec

NO_TLSA = ALL_TYPES - {"TLSA"}
EXAMPLE = "{{{{ vault_dns_{} }}}}"


def secret(name: str, meaning: str, required: bool = True) -> Option:
    """A credential."""
    return Option(name, meaning, EXAMPLE.format(name), required=required, secret=True)


def _client_session(provider: Any) -> Any:
    """Where most packages keep their session; some give each request a time-out that they keep beside it."""
    if hasattr(provider._client, "_timeout"):
        provider._client._timeout = TIMEOUT
    return provider._client._session


def octo(
    path: str,
    spec: ProviderSpec,
    *,
    settings: Mapping[str, Any] | None = None,
    arguments: Callable[[str, Mapping[str, Any]], Mapping[str, Any]] = lambda _name, options: options,
    session: Callable[[Any], Any] | None = None,
    quirk: Callable[[Any], Any] = lambda base: base,
    before: Callable[[], None] = lambda: None,
) -> ProviderSpec:
    """One row.

    :param path: where the class is, `module.Class`.
    :param spec: all that a person has to know of it.
    :param settings: constructor arguments that we set, above all limits.
    :param arguments: the entry's name and keys as constructor arguments; without it they are called the same.
    :param session: the `requests.Session` of a provider whose package sets no time-outs.
    :param quirk: our class from the package's.
    :param before: what has to happen before the package is imported.
    """

    def make(name: str, options: Mapping[str, Any]) -> Any:
        # The keys of every type (`nameservers`, `min_ttl`) are not the package's.
        known = {option.name: options[option.name] for option in spec.options if options.get(option.name) is not None}
        before()
        module, _, cls = path.rpartition(".")
        base = getattr(import_module(module), cls)
        provider = quirk(base)(name, **arguments(name, {**spec.defaults, **known}), **(settings or {}))
        if session:
            limit(session(provider))
        return provider

    return replace(spec, make=make)


def _rfc2136(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """TSIG (RFC 8945). The package looks at the secret only when it is used, and then says "Incorrect padding"."""
    try:
        base64.b64decode(options["key_secret"], validate=True)
    except binascii.Error:
        raise ConfigError(
            f"dns_providers.{name}.key_secret is no base64.",
            "Copy the key's secret as it stands in the server's configuration, without quotes.",
        ) from None
    return options


RFC2136 = octo(
    "octodns_bind.Rfc2136Provider",
    ProviderSpec(
        type="rfc2136",
        title="Own server (BIND, Knot, PowerDNS ...) by RFC 2136",
        page="https://www.rfc-editor.org/rfc/rfc2136",
        options=(
            Option("host", "The primary server: its address, or its name.", "192.0.2.53", kind="host"),
            Option("port", "Its port, by TCP.", "53", required=False, default=53, kind="port"),
            Option("key_name", "The name of the TSIG key.", "hearth-ddns"),
            secret("key_secret", "The secret of the TSIG key, in base64 (`tsig-keygen hearth-ddns`)."),
            Option(
                "key_algorithm",
                "The algorithm of the TSIG key.",
                "hmac-sha256",
                required=False,
                default="hmac-sha256",
                kind="choice",
                choices=("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1", "hmac-md5"),
            ),
        ),
        scope="Make a key for this box alone and allow it in the one zone, in BIND: `update-policy { grant hearth-ddns "
        "zonesub ANY; };` and `allow-transfer { key hearth-ddns; };`. Reading is by zone transfer, so it needs both.",
        explain={
            401: "The server does not accept the key for this zone: correct dns_providers.<name>.key_name, "
            "dns_providers.<name>.key_secret and key_algorithm, and allow the key both transfer and update there.",
        },
    ),
    settings={"timeout": READ},
    arguments=_rfc2136,
    quirk=quirks.rfc2136,
)
CLOUDFLARE = octo(
    "octodns_cloudflare.CloudflareProvider",
    ProviderSpec(
        type="cloudflare",
        title="Cloudflare",
        page="https://developers.cloudflare.com/api/resources/dns/subresources/records/",
        options=(secret("token", "An API token with the rights Zone Read and DNS Edit, for the one zone."),),
        min_ttl=60,
        scope="My Profile, API Tokens, Create Token, template Edit zone DNS; add Zone Read, and choose the one zone. "
        "Not the Global API Key.",
        limits="1,200 requests in 5 minutes.",
    ),
    # The package would pause for 5 minutes, up to 4 times; and page rules need a right that we do not want.
    settings={
        "timeout": TIMEOUT,
        "retry_count": RETRIES,
        "retry_period": 2,
        "min_ttl": 60,
        "pagerules": False,
    },
)
DESEC = octo(
    "octodns_desec.DesecProvider",
    ProviderSpec(
        type="desec",
        title="deSEC",
        page="https://desec.readthedocs.io/en/latest/dns/rrsets.html",
        options=(secret("token", "An API token, limited to the one domain by its policies."),),
        min_ttl=3600,
        min_ttl_varies=True,
        daily_writes=300,
        scope="Token Management, a new token; then policies for it: none by default, write for the one domain "
        "(https://desec.readthedocs.io/en/latest/auth/tokens.html#token-scoping-policies).",
        limits="Writes per domain: 15 a minute, 100 an hour, 300 a day. Support lowers the minimum TTL of a domain on "
        "request (write `min_ttl: 60` then, as for names under dedyn.io).",
    ),
    settings={"timeout": TIMEOUT, "retries": 1, "backoff": 1, "max_sleep": 5},
    quirk=quirks.desec,
)
HETZNER = octo(
    "octodns_hetzner.HetznerProvider",
    ProviderSpec(
        type="hetzner",
        title="Hetzner",
        page="https://docs.hetzner.cloud/reference/cloud#zones",
        options=(secret("token", "An API token of the project in which the zone is (Hetzner Console, Read & Write)."),),
        min_ttl=60,
        scope="A token can do all in its project: make a project for the zone alone. The older DNS Console "
        "(dns.hetzner.com) is not used: move the zone to the Hetzner Console first.",
        limits="3,600 requests an hour.",
    ),
    settings={"backend": "hcloud"},
    session=lambda provider: provider._client._hcloud._client._session,
    quirk=quirks.hetzner,
)
GANDI = octo(
    "octodns_gandi.GandiProvider",
    ProviderSpec(
        type="gandi",
        title="Gandi",
        page="https://api.gandi.net/docs/livedns/",
        options=(secret("token", "A personal access token with the right to manage domain name technical settings."),),
        min_ttl=300,
        scope="Organization, Personal Access Token: restrict it to the one domain, and to see and manage its technical "
        "settings. It ends after at most a year: the agent says so then.",
        limits="1,000 requests a minute.",
    ),
    session=_client_session,
    quirk=quirks.gandi,
)
INWX = octo(
    "octodns_inwx.INWXProvider",
    ProviderSpec(
        type="inwx",
        title="INWX",
        page="https://www.inwx.com/en/help/apidoc",
        options=(
            Option("username", "The login, best of a sub-account.", "hanako-dns"),
            secret("api_password", "Its password. Two-factor login is not supported: use an account without."),
        ),
        min_ttl=300,
        scope="The whole account is open to whoever has the password. Make a sub-account whose role may only edit name "
        "server records.",
    ),
    settings={"retries": 1, "retry_backoff": PAUSE},
    session=lambda provider: provider._client._client.api_session,
    quirk=quirks.inwx,
)
INFOMANIAK = octo(
    "octodns_infomaniak.InfomaniakProvider",
    ProviderSpec(
        type="infomaniak",
        title="Infomaniak",
        page="https://developer.infomaniak.com/docs/api",
        options=(secret("token", "An API token with the scope domain."),),
        scope="Manager, Developer, API tokens: scope domain only. It reaches all domains of the account.",
    ),
    session=_client_session,
    quirk=quirks.infomaniak,
)
TRANSIP = octo(
    "octodns_transip.TransipProvider",
    ProviderSpec(
        type="transip",
        title="TransIP",
        page="https://api.transip.nl/rest/docs.html",
        options=(
            Option("account", "The login at TransIP.", "hanako"),
            secret("key", "The private key of a key pair, with its BEGIN and END lines."),
            Option(
                "global_key",
                "Whether the key works from every address; with a changing address it must.",
                "true",
                required=False,
                default=True,
                kind="yes_no",
            ),
        ),
        min_ttl=60,
        scope="Control panel, API, a new key pair that is not bound to listed addresses, because yours changes. It "
        "reaches the whole account.",
        limits="A zone is written as a whole: what somebody else changes in the same seconds is lost.",
        debian_packages=("python3-cryptography",),
    ),
    session=lambda provider: provider._client.session,
    quirk=quirks.transip,
)
CLOUDNS = octo(
    "octodns_cloudns.ClouDNSProvider",
    ProviderSpec(
        type="cloudns",
        title="ClouDNS",
        page="https://www.cloudns.net/wiki/article/41/",
        options=(
            Option("auth_id", "The number of the API user, or of the API sub-user.", '"12345"'),
            secret("auth_password", "Its password."),
            Option(
                "sub_auth",
                "Whether it is a sub-user.",
                "true",
                required=False,
                default=False,
                kind="yes_no",
            ),
        ),
        min_ttl=60,
        scope="API & Resellers: make a sub-user, delegate the one zone to it, and write `sub_auth: true`. Leave its "
        "list of allowed addresses empty, because yours changes.",
        limits="20 requests a second. The API is not part of the free plan. TTLs from its list only (60, 300, 3600).",
    ),
    session=_client_session,
    quirk=quirks.cloudns,
)
PORKBUN = octo(
    "octodns_porkbun.PorkbunProvider",
    ProviderSpec(
        type="porkbun",
        title="Porkbun",
        page="https://porkbun.com/api/json/v3/documentation",
        options=(
            secret("api_key", "The API key (pk1_...)."),
            secret("secret_key", "The secret key (sk1_...)."),
        ),
        min_ttl=600,
        scope="Account, API Access. The key reaches all domains for which API Access is switched on: switch it on for "
        "the one domain only.",
        debian_packages=("python3-httpx",),
        # It says 3.13. 3.12 is enough; with 3.11 it cannot be read.
        min_python=(3, 12),
    ),
    quirk=quirks.porkbun,
)
OVH = octo(
    "octodns_ovh.OvhProvider",
    ProviderSpec(
        type="ovh",
        title="OVHcloud",
        page="https://eu.api.ovh.com/console/?section=%2Fdomain&branch=v1",
        options=(
            Option(
                "endpoint",
                "Which of OVH's companies.",
                "ovh-eu",
                required=False,
                default="ovh-eu",
                kind="choice",
                choices=("ovh-eu", "ovh-ca"),
            ),
            Option("application_key", "The application key.", "7kbG7Bk7S9Nt7ZSV"),
            secret("application_secret", "The application secret."),
            secret("consumer_key", "The consumer key, made for the one zone."),
        ),
        holds=NO_TLSA,
        min_ttl=60,
        scope="https://eu.api.ovh.com/createToken/ with GET, POST, PUT and DELETE on `/domain/zone/<domain>/*` and GET "
        "on `/domain/zone/<domain>`, for the one domain.",
        limits="One request for every record of the zone: a zone with more than some hundred takes too long.",
    ),
    session=_client_session,
    quirk=quirks.ovh,
)
EASYDNS = octo(
    "octodns_easydns.EasyDnsProvider",
    ProviderSpec(
        type="easydns",
        title="easyDNS",
        page="https://docs.sandbox.rest.easydns.net/",
        options=(
            Option("token", "The API token, the name of the key.", "a1b2c3"),
            secret("api_key", "The API key."),
        ),
        holds=NO_TLSA,
        scope="The token reaches the whole account. easyDNS gives it out on request.",
        explain={
            403: "The credential is not accepted, or the zone is not in its account: correct "
            "dns_providers.<name>.token and dns_providers.<name>.api_key, or `dns` of the domain in mail_domains.",
        },
    ),
    session=lambda provider: provider._client._sess,
    quirk=quirks.easydns,
)
SAKURACLOUD = octo(
    "octodns_sakuracloud.SakuraCloudProvider",
    ProviderSpec(
        type="sakuracloud",
        title="Sakura Cloud (さくらのクラウド)",
        page="https://manual.sakura.ad.jp/cloud-api/1.1/appliance/index.html",
        options=(
            Option("access_token", "The access token, the name of the API key.", "a1b2c3"),
            secret("access_token_secret", "Its secret."),
        ),
        holds=NO_TLSA,
        min_ttl=10,
        scope="API keys: access level `settings change` (設定編集), in an account that holds the DNS zone alone.",
        limits="A zone is written as a whole: what somebody else changes in the same seconds is lost.",
    ),
    settings={"timeout": TIMEOUT},
    quirk=quirks.sakuracloud,
)
SCALEWAY = octo(
    "octodns_scaleway.ScalewayProvider",
    ProviderSpec(
        type="scaleway",
        title="Scaleway",
        page="https://www.scaleway.com/en/developers/api/domains-and-dns/",
        options=(secret("token", "The secret key of an API key."),),
        holds=NO_TLSA,
        min_ttl=60,
        scope="IAM: an application with the permission set DomainsDNSFullAccess in a project that holds the one "
        "domain, and an API key for it.",
    ),
    session=_client_session,
    quirk=quirks.scaleway,
)
ROUTE53 = octo(
    "octodns_route53.Route53Provider",
    ProviderSpec(
        type="route53",
        title="Amazon Route 53",
        page="https://docs.aws.amazon.com/Route53/latest/APIReference/",
        options=(
            Option("access_key_id", "The access key of a user made for this.", "AKIAIOSFODNN7EXAMPLE"),
            secret("secret_access_key", "Its secret key."),
        ),
        holds=NO_TLSA,
        scope="IAM: a user with a policy that allows route53:ListHostedZonesByName for all, and "
        "route53:ListResourceRecordSets and route53:ChangeResourceRecordSets for the one hosted zone's ARN.",
        limits="5 requests a second for the whole account.",
        debian_packages=("python3-boto3",),
    ),
    # With it the right to list all zones of the account is not needed.
    settings={"get_zones_by_name": True},
    quirk=quirks.route53,
    before=quirks.before_route53,
)

OCTO = (
    RFC2136,
    CLOUDFLARE,
    DESEC,
    HETZNER,
    GANDI,
    INWX,
    INFOMANIAK,
    TRANSIP,
    CLOUDNS,
    PORKBUN,
    OVH,
    EASYDNS,
    SAKURACLOUD,
    SCALEWAY,
    ROUTE53,
)
