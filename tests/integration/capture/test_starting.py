"""Captures that end while they make their slot, and the loader that gets ready meanwhile."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import psutil
import pytest

from runtime import exit_codes
from tests.integration.services import DEADLINE_S, Serve, Services
from tests.kit.servers import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def services(serve: Serve, source_database: Database, target_database: Database) -> Iterator[Services]:
    """One table, and captures of it."""
    source_database.execute("create table t (id int primary key)", "insert into t values (1)")
    with serve(source_database, target_database) as found:
        yield found


@contextlib.contextmanager
def writing(source: Database) -> Iterator[None]:
    """Hold a transaction open that the making of a slot waits for."""
    with source.connect() as writer:
        writer.execute("begin")
        writer.execute("insert into t values (2)")
        yield
        writer.execute("commit")


def loader(services: Services, name: str = "capture") -> psutil.Process:
    """Return the loader of a capture that makes its slot, once there is one."""
    services.wait(lambda: services.said(name, "makes the replication slot"), "a capture makes its slot")
    services.wait(lambda: bool(services.loaders(name)), "its loader gets ready")
    return services.loaders(name)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_capture_ends_while_it_makes_its_slot_and_its_loader_too(
    services: Services, source_database: Database, number: signal.Signals
) -> None:
    services.start("capture")
    with writing(source_database):
        left = loader(services)
        services.signal("capture", number)
        code = services.join("capture")
        left.wait(DEADLINE_S)
        assert code == (-number if number == signal.SIGKILL else exit_codes.OK), services.log_tail("capture")
        assert not services.said("capture", "Traceback")
        # After a kill the server makes the slot all the same, and hears of nothing.
        services.start("capture", "--stop-at", "now")
        loader(services)
    assert services.join("capture") == exit_codes.OK, services.log_tail("capture")


def test_the_loader_of_a_capture_that_was_voted_out_ends(services: Services, source_database: Database) -> None:
    services.start("capture")
    with writing(source_database):
        first = loader(services)
        services.signal("capture", signal.SIGSTOP)
        services.start("capture-2")
        second = loader(services, "capture-2")
        services.signal("capture", signal.SIGCONT)
    services.wait(lambda: services.said("capture-2", "capture runs"), "the other one captures")
    first.wait(DEADLINE_S)
    services.wait(lambda: not second.is_running(), "the table is loaded")
    assert services.stop("capture-2") == exit_codes.OK
    assert services.stop("capture") == exit_codes.OK
