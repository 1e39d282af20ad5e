"""What holds for every test: a known environment, no skips in CI, `--soak`.

A test asks for `rounds` when it repeats something: `for _ in range(rounds(20))` goes
round 20 times in `make test` and 200 times in `make soak`. Hypothesis's examples
grow likewise, as long as a test leaves `max_examples` alone.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.databases import AnyDatabase, make_sqlite
from tests.postgres import Postgres

CI = os.environ.get("CI") == "true"
_SOAK_FACTOR = 10

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

_LONG = (
    "tests/interop/test_openssh_regress.py",
    "tests/interop/",
    "tests/deploy/",
    "tests/test_demo.py",
)
"""How the names of tests begin that take minutes."""

_FOREIGN = (
    "ACTIONS_",
    "BROWSER",
    "CA_LOGIN_",
    "CI",
    "DAYPASS_",
    "DISPLAY",
    "GITHUB_",
    "GITLAB_",
    "KUBERNETES_",
    "MAKE",
    "MFLAGS",
    "PG",
    "SSH_",
    "SUDO_",
    "WAYLAND_DISPLAY",
    "XDG_",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
"""How the variables begin that change what we or OpenSSH do."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="full counts, and the tests marked soak"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs us in the background has it ignored, and so would all we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # CI tries the same examples each time, so that a change alone can turn it red.
    soak = config.getoption("soak")
    settings.register_profile(
        "daypass",
        # How fast examples are made is the machine's doing, and others use it, too.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=CI and not soak,
        max_examples=100 * (_SOAK_FACTOR if soak else 1),
        print_blob=True,
    )
    settings.load_profile("daypass")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    items.sort(key=_turn)
    if config.getoption("soak"):
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def _turn(item: pytest.Item) -> int:
    """Return when a test's turn is: side by side, a long file must not begin last."""
    return next(
        (turn for turn, begins in enumerate(_LONG) if item.nodeid.startswith(begins)),
        len(_LONG),
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    """Make a skip a failure in CI: there, whatever a test needs must be installed."""
    if CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Return how often to repeat, from how often `make test` does."""
    factor = _SOAK_FACTOR if request.config.getoption("soak") else 1
    return lambda count: count * factor


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Return a PostgreSQL server for all tests; who stops it must start one alone."""
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> AnyDatabase:
    """Return an empty database with our tables, once of each kind."""
    if request.param == "sqlite":
        return make_sqlite(tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return server.make_database()


@pytest.fixture(autouse=True)
def _known_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Give each test an empty home and umask 022, and none of our user's settings."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    before = os.umask(0o022)
    yield
    os.umask(before)
