"""The tools around the specification: its page, the vault template, the check of the roles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hearthmail_site import spec

from hearthmail.ddns.providers import SPECS
from tools import check_roles, fill_vault, site_docs

PROJECT = Path(__file__).resolve().parents[3]
EXAMPLE = PROJECT / "inventories" / "example" / "group_vars" / "all"


def test_the_page_of_variables_is_current() -> None:
    assert site_docs.TARGET.read_text(encoding="utf-8") == site_docs.render(), "run tools/site_docs.py"


def test_the_table_of_providers_is_current() -> None:
    page = site_docs.DNS.read_text(encoding="utf-8")
    assert page == site_docs.render_dns(), "run tools/site_docs.py"
    for name, provider in SPECS.items():
        assert f"| `{name}` |" in page
        # Who may be asked for a credential is told how to get one.
        assert not provider.secrets or name == "powerdns" or provider.scope or provider.limits, name


def names(shape: spec.Shape) -> set[str]:
    """Name all keys under a shape."""
    match shape:
        case spec.ListOf() | spec.MapOf():
            return names(shape.item)
        case spec.Entry():
            return {key.name for key in shape.keys}
        case spec.TypedEntry():
            return {key.name for keys in (*shape.types.values(), shape.common) for key in keys}
    return set()


@pytest.mark.parametrize("variable", spec.VARIABLES, ids=lambda variable: variable.name)
def test_the_example_shows_every_variable_and_key(variable: spec.Variable) -> None:
    text = (EXAMPLE / "site.yml").read_text(encoding="utf-8")
    for name in {variable.name} | names(variable.shape):
        assert re.search(rf"(^|[ #{{-]){name}:", text, re.MULTILINE), f"{name} is not in inventories/example"


def test_the_defaults_in_the_example_are_the_real_ones() -> None:
    text = (EXAMPLE / "site.yml").read_text(encoding="utf-8")
    shown = yaml.safe_load(
        "\n".join(
            re.findall(r"^# (mail_lan_networks:.*|mail_outbound:.*|mail_message_size_limit:.*)$", text, re.MULTILINE)
        )
    )
    defaults = {variable.name: variable.default for variable in spec.VARIABLES}
    assert len(shown) == 3
    for name, value in shown.items():
        assert value == (list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name])


def test_every_secret_of_the_template_gets_its_own_password() -> None:
    filled = fill_vault.fill((EXAMPLE / "vault.example").read_text(encoding="utf-8"))
    passwords = yaml.safe_load(filled)["vault_passwords"]
    assert set(passwords) == {"hanako", "taro"}
    assert passwords["hanako"] != passwords["taro"]
    assert all(re.fullmatch(r"([a-z2-9]{4}-){4}[a-z2-9]{4}", password) for password in passwords.values())
    # What stands in a comment is nobody's password yet.
    assert "# vault_dns_api_key: change-me" in filled


GOOD = {
    "defaults/main.yml": "---\n# How many.\nthing_count: 3\n# Which name; none if not given.\n# thing_name: x\n",
    "meta/argument_specs.yml": (
        "argument_specs: {main: {options: {thing_count: {type: int, description: How many.},"
        " thing_name: {type: str, description: Which name.}}}}\n"
    ),
    "tasks/preflight.yml": "- name: Look\n  ansible.builtin.assert:\n    that: thing_count > 0\n",
}


def project(tmp_path: Path, **changed: str) -> Path:
    """Make a project with one role; `changed` replaces files, by their name's first word."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    (playbooks / "preflight.yml").write_text("- hosts: home\n  vars: {preflight_roles: [thing]}\n", encoding="utf-8")
    for name, text in GOOD.items():
        path = tmp_path / "roles" / "thing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(name.split("/")[0], text), encoding="utf-8")
    return tmp_path


def test_a_role_that_keeps_its_word_passes(tmp_path: Path) -> None:
    assert check_roles.check(project(tmp_path)) == []


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        (
            "defaults",
            GOOD["defaults/main.yml"] + "# More.\nthing_more: 1\n",
            "has thing_more, meta/argument_specs.yml does not",
        ),
        ("defaults", "", "meta/argument_specs.yml has thing_count, defaults/main.yml does not"),
        ("defaults", GOOD["defaults/main.yml"].replace("# How many.\n", ""), "thing_count has no comment"),
        (
            "meta",
            GOOD["meta/argument_specs.yml"].replace(", description: How many.", ""),
            "thing_count has no description",
        ),
        (
            "tasks",
            "- name: Do\n  ansible.builtin.copy: {content: x, dest: /x}\n",
            'tasks/preflight.yml: "Do" may change something',
        ),
        (
            "tasks",
            "- name: Do\n  block:\n    - name: Inner\n      ansible.builtin.shell: rm x\n",
            '"Inner" may change something',
        ),
    ],
)
def test_a_role_that_does_not_is_named(tmp_path: Path, part: str, text: str, said: str) -> None:
    found = check_roles.check(project(tmp_path, **{part: text}))
    assert any(problem.startswith("roles/thing ") and said in problem for problem in found), found


def test_a_role_without_checks_or_unknown_to_the_first_play_is_named(tmp_path: Path) -> None:
    root = project(tmp_path)
    (root / "roles" / "thing" / "tasks" / "preflight.yml").unlink()
    (root / "playbooks" / "preflight.yml").write_text(
        "- hosts: home\n  vars: {preflight_roles: [other]}\n", encoding="utf-8"
    )
    found = check_roles.check(root)
    assert "roles/thing has no tasks/preflight.yml" in found
    assert any("other, which is no role" in problem for problem in found)
