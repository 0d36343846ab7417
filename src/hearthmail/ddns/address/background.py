"""Running what may take too long, so that nobody waits for it longer than a given time."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Value = TypeVar("Value")
# Kind and place of the mistakes that were told: they come again with each look.
_told: set[tuple[str, str, int]] = set()


def in_background(function: Callable[[], Value]) -> Future[Value]:
    """Start a function in a thread of its own; `Future.result(timeout)` waits for it, for that long.

    The threads of an executor would be waited for at the program's end; this one is not. It must end by itself
    (sockets with time-outs), because nobody ends it.
    """
    future: Future[Value] = Future()

    def work() -> None:
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(value)

    threading.Thread(target=work, daemon=True, name="address").start()
    return future


def tell_mistake(what: str, error: Exception) -> None:
    """Write to the journal, once, where an error came about that no answer explains, but a mistake of ours does.

    :param what: what broke off; others may have answered in its place, so that nobody would hear of it.
    """
    place = traceback.extract_tb(error.__traceback__)[-1]
    mistake = (type(error).__name__, place.filename, place.lineno or 0)
    if mistake not in _told:
        _told.add(mistake)
        text = "".join(traceback.format_exception(error)).rstrip()
        print(f"{what} broke off by a mistake of the agent or of a library.\n{text}", file=sys.stderr, flush=True)
