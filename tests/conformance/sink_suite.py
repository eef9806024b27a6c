"""The conformance suite of sinks, ours and others': it is what "works" means for a target.

A sink's own test subclasses `SinkSuite` with a name that begins with `Test`, gives the fixture `sink`, `other_sink`,
and `read` (or `read_history`), and that is all (`frame` says what else it may tell). `Capabilities` decide what is
asked, never a target's name. Faults that only the sink's client can bring about, and values that its target cannot
hold, are told by `fault` and `holds`.
"""

from __future__ import annotations

from tests.conformance.of_replays import OfReplays
from tests.conformance.of_rows import OfRows
from tests.conformance.of_tables import OfTables
from tests.conformance.of_transactions import OfTransactions
from tests.conformance.of_values import OfValues
from tests.conformance.tables import EVENTS, INT64, ORDERS, ORDERS_2, P0, P1, SEATS, STRING
from tests.conformance.together import Together
from tests.conformance.under_death import UnderDeath
from tests.conformance.under_load import UnderLoad

__all__ = ["EVENTS", "INT64", "ORDERS", "ORDERS_2", "P0", "P1", "SEATS", "STRING", "SinkSuite"]


class SinkSuite(OfRows, OfValues, OfTables, OfTransactions, OfReplays, Together, UnderLoad, UnderDeath):
    """Subclass with a name that begins with `Test`. Each test gets an empty target."""
