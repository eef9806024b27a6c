"""What "works" means for sinks: suites that a sink's own tests subclass, wherever they are."""

from __future__ import annotations

import pytest

# So that a failure shows what was compared, also where the tests of another package import the suite.
pytest.register_assert_rewrite(f"{__name__}.sink_suite", f"{__name__}.together", f"{__name__}.under_death")
pytest.register_assert_rewrite(f"{__name__}.under_load", f"{__name__}.changes")
