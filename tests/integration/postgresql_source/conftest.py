"""How the log arrives: a poll returns what is there, and how much that is depends on the machine."""

from __future__ import annotations

import pytest

from capture.sources.postgresql import log


@pytest.fixture(params=["at once", "one by one"])
def arrival(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice: as the log comes, and with every poll cut behind a single message of the log."""
    if request.param == "one by one":
        monkeypatch.setattr(log, "POLL_BYTES_MAX", 1)
    return str(request.param)
