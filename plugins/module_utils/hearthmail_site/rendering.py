"""The one part that knows Ansible: takes the site's variables out of all others and renders their templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.parsing.vault import AnsibleVaultError
from ansible.utils.encrypt import do_encrypt

from .reader import Unreadable
from .spec import PREFIXES

# Ansible's template function.
Template = Callable[[Any], Any]


def render_site(variables: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """Give the site's variables, rendered, as plain Python values. What cannot be rendered becomes an `Unreadable`."""
    return {str(name): render(value, template) for name, value in variables.items() if str(name).startswith(PREFIXES)}


def render(value: Any, template: Template) -> Any:
    """Render a value as a whole, or, if that fails, leaf by leaf to find out which."""
    try:
        return plain(template(value))
    except AnsibleError as error:
        if isinstance(value, Mapping):
            return {str(key): render(item, template) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [render(item, template) for item in value]
        return _unreadable(error)


def _unreadable(error: AnsibleError) -> Unreadable:
    # Only the message about a missing variable is passed on: another one could quote the value.
    if isinstance(error, AnsibleUndefinedVariable):
        return Unreadable(
            f"the variable behind it is not there ({error.message.rstrip('.')})",
            "add it to the site's vault file (make vault SITE=...), or correct its name here",
        )
    if isinstance(error, AnsibleVaultError):
        return Unreadable(
            "it cannot be decrypted", "run with --ask-vault-pass, and give the password it was encrypted with"
        )
    return Unreadable(
        "Ansible cannot render it", "if the text itself has {{ or {% in it, write !unsafe before its quotes"
    )


def plain(value: Any) -> Any:
    """Take off what Ansible knows about where a value came from: the model is data, never a template."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def hash_password(password: str, salt: str, rounds: int) -> str:
    """Hash with SHA512-crypt, by the C library of this machine."""
    try:
        return str(do_encrypt(password, "sha512_crypt", salt=salt, rounds=rounds))
    except AnsibleError as error:
        raise AnsibleError(
            "This machine cannot hash passwords, for its C library has no SHA512-crypt. "
            "Write password_hash for each user instead (openssl passwd -6), or deploy from a Linux machine."
        ) from error
