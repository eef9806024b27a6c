"""How an applier marks what must not come back (`loopback_prevention`), and by what a capture knows it.

Both sides must agree: a capture of one release reads what an applier of another one has written.
"""

from __future__ import annotations

APPLIED_PREFIX = "tailrace.applied"
"""Prefix of the log message that an applier begins its transactions with, where it is to keep them from coming back."""

APPLIED_TABLE = "tailrace_applied"
"""The table that an applier writes first in its transactions for the same end, where a log holds no messages."""

APPLIED_COMMENT = "/* tailrace.applied */"
"""What an applier's definitions begin with there, which are no part of any transaction."""

APPLIED_DROP_COMMENT = "/* tailrace.applied drop */"
"""The same, of a statement that changes nothing of a table which the next one drops: a server writes that anew."""

APPLIED_DDL_PREFIX = "tailrace.applied.ddl"
"""Prefix of the log message that stands before an applier's definition: a JSON document with `event` (`created`,
`altered` or `dropped`) and `table`, as the target calls it."""
