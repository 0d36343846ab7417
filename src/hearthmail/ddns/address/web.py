"""One question over HTTP, from a given own address and with a limit on time and size."""

from __future__ import annotations

import time
from typing import Any

# More than this is no address and no JSON of the reach service, in bytes.
SIZE = 1000


def get(url: str, source: str, timeout: float) -> str:
    """GET a short text from a given own address, which also settles the address family.

    :param source: an own address, or `0.0.0.0` or `::` for any of that family.
    :param timeout: seconds for connecting, for each piece of the answer, and for reading its body.
    :raises OSError: no answer, or an error (requests' exceptions are OSErrors).
    """
    import requests
    from requests.adapters import HTTPAdapter

    class Bound(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, source_address=(source, 0))

    end = time.monotonic() + timeout
    with requests.Session() as session:
        # A proxy's address is not ours.
        session.trust_env = False
        session.mount("http://", Bound())
        session.mount("https://", Bound())
        with session.get(url, timeout=timeout, allow_redirects=False, stream=True) as answer:
            answer.raise_for_status()
            body = b""
            # Byte by byte: a server that sends slowly for ever must not hold the thread for ever.
            for piece in answer.iter_content(1):
                body += piece
                if len(body) >= SIZE:
                    break
                if time.monotonic() > end:
                    raise TimeoutError(f"{url} sends too slowly")
    return body.decode("utf-8", "replace")
