"""What a comparison found, kept at the target as AWS DMS keeps it: `awsdms_validation_failures_v1`.

AWS DMS user guide, "AWS DMS data validation", "Troubleshooting". A table's rows there are those of its last comparison
that came to an end: of one in which the target was behind, or that failed, nothing is said, and what was there stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from apply.sinks import open_dms_tables
from control.verify.comparison import TableResult
from runtime import clock
from schemas.control_tables import VALIDATION_FAILURES
from schemas.errors import TailraceError
from schemas.settings import Settings
from schemas.table import TableName
from schemas.types.calendar import moment

_TYPES = {"missing": "MISSING_TARGET", "extra": "MISSING_SOURCE", "different": "RECORD_DIFF"}


def record(
    settings: Settings, target: str, names: Mapping[str, TableName], results: Sequence[TableResult]
) -> str | None:
    """Write what was found, where the settings say so and the target can have it; return why it could not be.

    The keys that the report names are written, and no other value of a row.
    """
    if not settings.apply.control_tables.validation_failures:
        return None
    tables = open_dms_tables(settings, target)
    if tables is None:
        return None
    now = moment(clock.now_us())
    try:
        for result in results:
            if result.error or result.undecided:
                continue
            owner = (settings.name, *names[result.table])
            rows = [
                (*owner, now, "Row", json.dumps({"key": one.key}, ensure_ascii=False), _TYPES[one.kind], "[]")
                for one in result.differences
            ]
            tables.replace(VALIDATION_FAILURES, owner, rows)
    except TailraceError as error:
        return error.message
    finally:
        tables.close()
    return None
