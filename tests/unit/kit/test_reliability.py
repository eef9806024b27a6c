"""The published figures are those that the runs have written."""

from __future__ import annotations

from tests.kit.reliability import PAGE, page, quantile, runs


def test_the_page_is_made_from_the_runs() -> None:
    assert page() == PAGE.read_text(), "python -m tests.kit.reliability"


def test_no_run_with_a_fault_is_hidden() -> None:
    found = runs()
    assert found
    assert all(run[name] == 0 for run in found for name in ("losses", "duplicates", "reorderings"))


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0] * 99 + [7.0], 0.99) == 1.0
    assert quantile([1.0, 7.0], 0.99) == 7.0
