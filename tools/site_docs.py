"""Make docs/site-variables.md from the specification of the site, and the table of providers in docs/dns.md.

Usage: site_docs.py [--check]; with --check it only says whether they are current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TARGET = PROJECT / "docs" / "site-variables.md"
DNS = PROJECT / "docs" / "dns.md"
# What stands between these in docs/dns.md is made here.
BEGIN, END = "<!-- providers: made by `make docs` -->", "<!-- end of providers -->"
sys.path.append(str(PROJECT / "plugins" / "module_utils"))

from hearthmail_site import spec  # noqa: E402  the path has to be set first
from hearthmail_site.values import Kind  # noqa: E402

# The path to it was set by hearthmail_site.spec.
from hearthmail.ddns.providers.spec import ALL_TYPES, Option, ProviderSpec  # noqa: E402

HEAD = """# The variables of a site

<!-- Made from plugins/module_utils/hearthmail_site/spec.py by `make docs`: change that file, not this one. -->

What a person writes into `inventories/<site>/group_vars/all/site.yml`; `inventories/example` is one to copy. Secrets go
into `vault.yml` beside it (`make vault SITE=<site>`), and `site.yml` takes them from there:
`"{{ vault_passwords.hanako }}"`.

All of it is checked before anything on the box is changed. Variables that begin with `mail_`, `dns_`, `backup_` or
`kit_` are the site's: one that is not below is refused, as is a key that an entry does not have. A variable with
nothing behind it counts as left out.

- **size**: a whole number with K, M, G or T (powers of 1024); without a letter bytes.
- **address**: before the @ only a-z, 0-9, `.` `_` `-` (in aliases also `+`). Capital letters do not matter in your own
  domains; they are made small.
- **domain**: in the form which travels in mail: `xn--...` for one with other letters.
- **secret**, **password**, **hash**: never shown in a message.
"""

TAIL = """## Planned

Not supported yet, and refused until then: {later}.

## Where to look further

Roles have inputs of their own (`<role>_...`), each with a comment in `roles/<role>/defaults/main.yml`. They are for
special cases, and can be written into `site.yml` too.
"""


def shape_name(shape: spec.Shape) -> str:
    """Name what a value may be."""
    match shape:
        case Kind():
            return shape.name
        case spec.ListOf():
            inner = "entries" if isinstance(shape.item, spec.Entry) else f"{shape_name(shape.item)}"
            many = f"list of {inner}" if inner.endswith("s") else f"list: {inner}"
            return f"{inner}, or {many}" if shape.lone else many
        case spec.MapOf():
            return f"{shape.name.name} -> {shape_name(shape.item)}"
    return "keys"


def default(key: spec.Key) -> str:
    """Say what holds when a key is left out."""
    if isinstance(key.default, spec.Required):
        return "**required**"
    if key.default_text:
        return key.default_text
    return "none" if key.default is None or key.default == () else f"`{key.default}`"


def table(keys: tuple[spec.Key, ...]) -> Iterator[str]:
    """Draw the keys of an entry."""
    yield "| key | value | default | meaning | example |"
    yield "|---|---|---|---|---|"
    for key in keys:
        cells = (f"`{key.name}`", shape_name(key.shape), default(key), key.doc, f"`{key.example}`")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def tables(shape: spec.Shape) -> Iterator[str]:
    """Draw the keys under a variable, if it has any."""
    match shape:
        case spec.ListOf():
            yield from tables(shape.item)
        case spec.MapOf():
            yield from tables(shape.item)
        case spec.Entry():
            yield ""
            yield from table(shape.keys)
        case spec.TypedEntry():
            for name, keys in shape.types.items():
                yield f"\n**`type: {name}`**" + ("" if keys else ": no keys but those of every type.")
                if keys:
                    yield ""
                    yield from table(keys)
                if name in shape.further:
                    yield "\nAnd further keys of its own, each a secret: see docs/dns.md."
            yield "\n**Every type** has also:\n"
            yield from table(shape.common)


def variable(one: spec.Variable) -> Iterator[str]:
    """Describe a variable."""
    yield f"\n## `{one.name}`\n"
    yield one.doc
    yield ""
    yield f"{shape_name(one.shape)[:1].upper()}{shape_name(one.shape)[1:]}. Default: {default(one)}.\n"
    yield "```yaml"
    if one.example.startswith("- ") or (isinstance(one.shape, spec.MapOf)):
        yield f"{one.name}:\n  {one.example}"
    else:
        yield f"{one.name}: {one.example}"
    yield "```"
    yield from tables(one.shape)


def render() -> str:
    """Write the page."""
    later = ", ".join(f"`{name}`" for name in spec.LATER)
    body = "\n".join(line for one in spec.VARIABLES for line in variable(one))
    return f"{HEAD}{body}\n\n{TAIL.format(later=later)}"


def held(provider: ProviderSpec) -> str:
    """Say which records a type holds."""
    lost = sorted(ALL_TYPES - provider.holds)
    if not lost:
        return "all"
    return f"all but {', '.join(lost)}" if len(lost) < len(provider.holds) else ", ".join(sorted(provider.holds))


def when_left_out(option: Option) -> str:
    """Say what counts for a key that is left out."""
    if option.required:
        return ""
    if option.default is None:
        return " (optional)"
    default = option.default
    words = ", ".join(default) if isinstance(default, tuple) else str(default).lower()
    return f" (default `{words}`)"


def providers() -> str:
    """Write the table of the providers, and a paragraph for each."""
    served = sorted(spec.SPECS.values(), key=lambda one: one.title.lower())
    lines = ["| provider | `type` | holds | minimum TTL | writes a day | keys |", "|---|---|---|---|---|---|"]
    for one in served:
        keys = [f"`{option.name}`" if option.required else f"(`{option.name}`)" for option in one.options]
        ttl = f"{one.min_ttl} s" if one.min_ttl else "-"
        cells = (one.title, f"`{one.type}`", held(one), ttl, str(one.daily_writes or "-"), ", ".join(keys) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    for one in served:
        if not one.options:
            continue
        lines += ["", f"### {one.title}: `{one.type}`", "", f"<{one.page}>", ""]
        lines += [f"- `{option.name}`{when_left_out(option)}: {option.meaning}" for option in one.options]
        rest = [one.scope and f"Credential: {one.scope}", one.limits]
        if one.debian_packages:
            rest.append(f"Role `ddns` installs {', '.join(f'`{package}`' for package in one.debian_packages)}.")
        if one.min_python > (3, 11):
            rest.append(f"Its library needs Python {'.'.join(map(str, one.min_python))}: Debian 13, not 12.")
        lines += [line for part in rest if part for line in ("", part)]
    return "\n".join(lines)


def render_dns() -> str:
    """Give docs/dns.md with its made part made anew."""
    before, _, rest = DNS.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{providers()}\n\n{END}{after}"


def main(words: list[str]) -> int:
    """Write the pages, or say whether they are current."""
    pages = {TARGET: render(), DNS: render_dns()}
    if words != ["--check"]:
        for path, page in pages.items():
            path.write_text(page, encoding="utf-8")
        return 0
    old = [path for path, page in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != page]
    for path in old:
        print(f"{path.relative_to(PROJECT)} is older than the specification: run `make docs`.", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
