"""Running what may take too long, so that nobody waits for it longer than a given time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Value = TypeVar("Value")


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
