"""SIGKILL of appliers under flow: nothing lost, nothing twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.integration.apply.publishing import Publisher, change_orders
from tests.kit.servers import Database

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow]

APPLIER = """
import sys
from apply.service import run
from runtime import logging
from runtime.configuration import load
from runtime.lifecycle import StopRequest
logging.configure(json=True)
settings = load(sys.argv[1])
(target,) = settings.targets
with StopRequest() as stop:
    sys.exit(run(settings, target, stop_at=sys.argv[2] if len(sys.argv) > 2 else None, stop=stop))
"""


def start(config: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", APPLIER, str(config), *arguments], stdout=output, stderr=subprocess.STDOUT
        )


def test_killed_appliers_lose_nothing_and_write_nothing_twice(
    document: dict[str, Any], settings: Settings, publisher: Publisher, target_database: Database, tmp_path: Path
) -> None:
    chance = random.Random(7)
    config, log = tmp_path / "config.json", tmp_path / "applier.log"
    config.write_text(json.dumps(document))
    publisher.add(ORDERS, EVENTS)
    rows: dict[int, tuple[Any, ...]] = {i: (i, "loaded", None) for i in range(3000)}
    publisher.load(ORDERS, rows.values())
    events = 0
    appliers: list[subprocess.Popen[bytes]] = []
    try:
        for round_number in range(40):
            if round_number % 8 == 0:
                appliers.append(start(config, log))
            publisher.change(ORDERS, *change_orders(chance, rows, f"r{round_number}", count=200, keys=4000))
            publisher.change(EVENTS, *[("c", None, ("e", events + n)) for n in range(20)])
            events += 20
            # tidy: the pace of the flow, so that kills meet appliers at work; nothing is asserted about time.
            time.sleep(0.3)
            if round_number % 8 == 5:
                victim = appliers.pop(0)
                victim.send_signal(signal.SIGKILL)
                victim.wait(60)
        last = start(config, log, "now")
        assert last.wait(480) == 0, log.read_text()[-4000:]
    finally:
        for applier in appliers:
            applier.send_signal(signal.SIGTERM)
        ended = [applier.wait(480) for applier in appliers]
    assert ended == [0] * len(ended), log.read_text()[-4000:]
    assert set(target_database.rows("select id, status, paid from public.orders")) == set(rows.values())
    found = sorted(row[1] for row in target_database.rows("select kind, weight from public.events"))  # type: ignore[type-var]
    assert found == list(range(events))
