"""What all flow tests share: their order, what runs on which release, the box as testinfra sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import testinfra
from testinfra.host import Host

from tests.flow import lab

# First what leaves the world as it is, then what changes it, then the count of all that arrived; last the box goes.
LAST = [
    "test_bad_input",
    "test_check_mode",
    "test_agent_is_quiet",
    # It has the agent write, so it comes after the count of writes.
    "test_agent_service",
    "test_random_zones",
    "test_relay",
    "test_adopt",
    "test_providers",
    "test_address_change",
    "test_restart",
    "test_exactly_once",
    "test_self_deploy",
]
# No single test may hold up the others for longer; in seconds.
LIMIT = 480


def pytest_configure(config: pytest.Config) -> None:
    """Name our marker."""
    config.addinivalue_line("markers", "release(name): runs only on a home box of this Debian release")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for another release, put the rest in order, give each a limit."""
    other = []
    for item in items:
        marker = item.get_closest_marker("release")
        if marker and marker.args[0] != lab.RELEASE:
            other.append(item)
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))
    if other:
        config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]
    items.sort(key=lambda item: LAST.index(item.path.stem) if item.path.stem in LAST else -1)


@pytest.fixture(scope="session", autouse=True)
def deployed() -> None:
    """Say clearly what is missing when the box has not been deployed."""
    listening = lab.out("hearth-home", "ss", "-ltnH", "sport = :25")
    if not listening:
        pytest.exit("hearth-home serves no mail yet: `make deploy` first", returncode=2)


@pytest.fixture(scope="session", autouse=True)
def line_as_it_began(deployed: None) -> Iterator[None]:
    """Begin and leave with the line as it was when the lab started, whatever a test or `make demo` left behind."""
    lab.restore_line()
    yield
    lab.restore_line()


@pytest.fixture
def world_has_only_ipv4() -> Iterator[None]:
    """Let mail come in through the router's NAT only."""
    with lab.world_without_ipv6():
        yield


@pytest.fixture(scope="session")
def home(deployed: None) -> Host:
    """Give the home box to testinfra."""
    return testinfra.get_host("podman://hearth-home")


@pytest.fixture(scope="session", autouse=True)
def quiet_since(deployed: None) -> int:
    """Remember, before the first test, the number of writes at the provider."""
    return lab.provider_writes()


@pytest.fixture(scope="session", autouse=True)
def small_is_empty(deployed: None) -> None:
    """Empty the one mailbox with a quota, which a test of an earlier run may have left full."""
    with lab.inbox(lab.SMALL, readonly=False) as session:
        session.delete_messages(session.search(["ALL"]))
        session.expunge()
