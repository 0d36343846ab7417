"""Takes the variables of a site apart as `spec.py` says, and notes all that is wrong, not only the first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .spec import Entry, Key, ListOf, MapOf, Required, Shape, TypedEntry
from .values import SECRET, BadValueError, Kind


@dataclass(frozen=True)
class Problem:
    """Something that a person has to correct.

    :param path: the variable, down to the key: `mail_users[2].quota`.
    :param why: what is wrong.
    :param way_out: what to do.
    :param who: which entry that is, where the path has a number in it.
    :param value: what was written, if it may be shown.
    """

    path: str
    why: str
    way_out: str
    who: str = ""
    value: str | None = None

    def __str__(self) -> str:
        where = f"{self.path} of {self.who}" if self.who else self.path
        shown = f' is "{self.value}"' if self.value is not None else ""
        return f"{where}{shown}: {self.why}. {self.way_out[:1].upper()}{self.way_out[1:]}."


@dataclass(frozen=True)
class Unreadable:
    """In place of a value whose template could not be rendered.

    :param why: the reason, without the value.
    """

    why: str
    way_out: str


class Bad:
    """In place of a value that is wrong and has been reported."""


BAD = Bad()

# Longer values are cut in messages.
_SHOWN = 80


def type_name(raw: Any) -> str:
    """Say in a person's words what YAML made of something."""
    if isinstance(raw, bool):
        return "a yes or no"
    if isinstance(raw, str):
        return "a text"
    if isinstance(raw, int | float):
        return "a number"
    if isinstance(raw, Mapping):
        return "a group of keys"
    return "a list" if isinstance(raw, Sequence) else "something else"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that was probably meant."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_address(address: str, known: Iterable[str]) -> str | None:
    """Give the address of the same domain that was probably meant."""
    local, _, domain = address.rpartition("@")
    locals_ = [one.removesuffix(f"@{domain}") for one in known if one.endswith(f"@{domain}")]
    found = difflib.get_close_matches(local, locals_, n=1, cutoff=0.75)
    return f"{found[0]}@{domain}" if found else None


@dataclass
class Reader:
    """Reads values and collects the problems."""

    problems: list[Problem] = field(default_factory=list)

    def report(self, path: str, why: str, way_out: str, who: str = "", value: Any = None) -> None:
        """Note a problem."""
        shown = None if value is None else _cut(str(value))
        self.problems.append(Problem(path, why, way_out, who, shown))

    def read(self, shape: Shape, raw: Any, path: str, who: str = "") -> Any:
        """Give the value in normal form, or `BAD` after reporting why."""
        if isinstance(raw, Unreadable):
            self.report(path, raw.why, raw.way_out, who)
            return BAD
        if isinstance(shape, Kind):
            return self._scalar(shape, raw, path, who)
        if isinstance(shape, ListOf):
            return self._list(shape, raw, path, who)
        if isinstance(shape, MapOf):
            return self._map(shape, raw, path, who)
        return self._entry(shape, raw, path, who)

    def _scalar(self, kind: Kind, raw: Any, path: str, who: str) -> Any:
        try:
            return kind.parse(raw)
        except BadValueError as error:
            showable = isinstance(raw, str | int | float) and not kind.secret and not error.hide
            self.report(path, error.why, error.way_out, who, raw if showable else None)
            return BAD

    def _list(self, shape: ListOf, raw: Any, path: str, who: str) -> Any:
        if not isinstance(raw, list | tuple):
            if shape.lone and isinstance(raw, str):
                raw = [raw]
            else:
                self.report(path, f"this is {type_name(raw)}, not a list", "begin each entry with a dash", who)
                return BAD
        # What is bad keeps its place, so that later checks can count.
        return [self.read(shape.item, item, f"{path}[{index}]", who) for index, item in enumerate(raw)]

    def _map(self, shape: MapOf, raw: Any, path: str, who: str) -> Any:
        if not isinstance(raw, Mapping):
            self.report(
                path, f"this is {type_name(raw)}, not names with values", f"write each as {shape.name.name}: value", who
            )
            return BAD
        result: dict[Any, Any] = {}
        for written, item in raw.items():
            inner = f"{path}[{written}]" if "@" in str(written) else f"{path}.{written}"
            name = self._scalar(shape.name, written, inner, "")
            if name in result:
                self.report(inner, f"{name} stands there twice", "keep one")
                continue
            value = self.read(shape.item, item, inner, "")
            if name is not BAD and value is not BAD:
                result[name] = value
        return result

    def _entry(self, shape: Entry | TypedEntry, raw: Any, path: str, who: str) -> Any:
        if not isinstance(raw, Mapping):
            self.report(
                path, f"this is {type_name(raw)}, not keys with values", "write it as in inventories/example", who
            )
            return BAD
        if isinstance(shape, TypedEntry):
            word = raw.get("type")
            if isinstance(word, Unreadable):
                return self.read(shape, word, f"{path}.type", who)
            if not isinstance(word, str) or word not in shape.types:
                self._unknown_type(shape, word, path, who)
                return BAD
            shape = shape.entry(str(word))
        label = raw.get(shape.label) if shape.label else None
        inner_who = str(label) if isinstance(label, str) else who
        return self.keys(shape, raw, f"{path}.", who, inner_who)

    def keys(self, shape: Entry, raw: Mapping[Any, Any], prefix: str, who: str, inner_who: str) -> dict[str, Any]:
        """Read all keys of an entry; what is bad, and has been reported, is missing in the result."""
        meant = self._strangers(raw, shape, prefix, inner_who)
        result = {}
        for key in shape.keys:
            if raw.get(key.name) is None and key.name in meant:
                continue
            # The label need not say whose it is: it is shown as the value.
            value = self._key(key, raw, f"{prefix}{key.name}", who if key.name == shape.label else inner_who)
            if value is not BAD:
                result[key.name] = value
        for name in (one for one in self._further(raw, shape) if raw[one] is not None):
            value = self.read(SECRET, raw[name], f"{prefix}{name}", inner_who)
            if value is not BAD:
                result[name] = value
        return result

    @staticmethod
    def _further(raw: Mapping[Any, Any], shape: Entry) -> list[str]:
        """Name the keys that the entry may have without listing them."""
        known = {key.name for key in shape.keys}
        names = [one for one in raw if isinstance(one, str) and one not in known]
        return [one for one in names if shape.further and re.fullmatch(shape.further, one)]

    def _unknown_type(self, shape: TypedEntry, word: Any, path: str, who: str) -> None:
        types = list(shape.types)
        guess = nearest(word, types) if isinstance(word, str) else None
        way_out = f"write {guess}" if guess else f"write {', '.join(types[:-1])} or {types[-1]}"
        if word is None:
            self.report(f"{path}.type", "it is missing", way_out, who)
        else:
            shown = word if isinstance(word, str | int | float) else None
            self.report(f"{path}.type", "no such type is known", way_out, who, shown)

    def _strangers(self, raw: Mapping[Any, Any], shape: Entry, prefix: str, who: str) -> set[str]:
        """Report keys that the entry does not have; a slip of the pen would otherwise do nothing, quietly.

        :returns: the keys that were probably meant.
        """
        known = {key.name for key in shape.keys}
        written = {str(one) for one in raw}
        meant = set()
        further = self._further(raw, shape)
        for stranger in (one for one in map(str, raw) if one not in known and one not in further):
            path = f"{prefix}{stranger}"
            if stranger in shape.renamed:
                meant.add(shape.renamed[stranger])
                self.report(path, f"this is now called {shape.renamed[stranger]}", "change its name", who)
            else:
                guess = stranger if stranger in shape.later else nearest(stranger, known | set(shape.later))
                meant.add(guess or "")
                why, way_out = self._stranger(stranger, guess, shape, known, written, "key" if prefix else "variable")
                self.report(path, why, way_out, who)
        return meant

    @staticmethod
    def _stranger(
        stranger: str, guess: str | None, shape: Entry, known: set[str], written: set[str], noun: str
    ) -> tuple[str, str]:
        """Say what is wrong with a key that is not known, and the way out."""
        why = f"no such {noun} is known"
        if guess and guess in shape.later:
            what = shape.later[guess]
            why = f"{what} {'are' if what.endswith('s') else 'is'} not supported yet"
            return (why if guess == stranger else f"this is probably {guess}, but {why}"), "take it out"
        if guess is None:
            return why, f"take it out, or write one of {', '.join(sorted(known))}"
        if guess in written:
            return f"{why}, and {guess}, which is close, is there as well", f"put all into {guess}, or take it out"
        return why, f"write {guess} instead"

    def _key(self, key: Key, raw: Mapping[Any, Any], path: str, who: str) -> Any:
        """Read one key of an entry, or take its default. A key with nothing behind it is left out as well."""
        written = raw.get(key.name)
        if written is not None:
            return self.read(key.shape, written, path, who)
        if isinstance(key.default, Required):
            self.report(path, "it is missing", f"write it, for example {key.name}: {key.example}", who)
            return BAD
        return None if key.default is None else self.read(key.shape, key.default, path, who)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
