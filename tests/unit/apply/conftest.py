"""What all simulated appliers need."""

from __future__ import annotations

import pytest

from apply import writer_thread


@pytest.fixture(autouse=True)
def _no_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of `LateExecutor` is not done by waiting for it, and time is the rig's."""
    monkeypatch.setattr(writer_thread, "wait", lambda *_: None)
