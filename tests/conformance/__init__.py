"""What "works" means for sinks: a suite that a sink's own tests subclass, wherever they are."""

from __future__ import annotations

from pathlib import Path

import pytest

# So that a failure shows what was compared, also where the tests of another package import the suite.
for path in Path(__file__).parent.glob("*.py"):
    if path.stem != "__init__":
        pytest.register_assert_rewrite(f"{__name__}.{path.stem}")
