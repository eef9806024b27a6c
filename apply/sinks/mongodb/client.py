"""The connection to MongoDB, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from schemas.endpoints.mongodb import MongodbTarget
from schemas.errors import ErrorKind, TailraceError

Documents = Collection[dict[str, Any]]

DUPLICATE_KEY = 11000
REFUSALS = frozenset({13, 18, 33, 11, 8000})
"""Unauthorized, AuthenticationFailed, UnsuitableAuth: `error_codes.yml` of MongoDB's source."""

BUSY = frozenset(
    {
        6,
        7,
        24,
        43,
        46,
        50,
        64,
        89,
        91,
        112,
        133,
        189,
        202,
        262,
        9001,
        10058,
        10107,
        11600,
        11602,
        13388,
        13435,
        13436,
        16500,
    }
)
"""Lost hosts, interruptions, elections, locks, write conflicts, exceeded times and throttling: the same file, and the
driver specification "Retryable Writes"."""

TLS_OPTIONS: dict[str, dict[str, Any]] = {
    "disable": {},
    "require": {"tls": True, "tlsAllowInvalidCertificates": True},
    "verify-ca": {"tls": True, "tlsAllowInvalidHostnames": True},
    "verify-full": {"tls": True},
}


class Client:
    """One connection. Connects when it is first used."""

    def __init__(self, target: MongodbTarget) -> None:
        self._target = target
        self._made: MongoClient[dict[str, Any]] | None = None

    def collection(self, database: str, name: str) -> Documents:
        """Return a collection, whether or not it is there."""
        return self._connection()[database][name]

    def command(self, command: str) -> dict[str, Any]:
        """Run a command of the database `admin`."""
        with told(command):
            return dict(self._connection().admin.command(command))

    def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _connection(self) -> MongoClient[dict[str, Any]]:
        if self._made is None:
            target = self._target
            with told("connecting"):
                self._made = MongoClient(**options(target))
        return self._made


def options(target: MongodbTarget) -> dict[str, Any]:
    """Return the driver's options. They hold the password in clear: for the driver only, never for a log."""
    made: dict[str, Any] = {
        "host": [f"{host.strip()}:{target.port}" for host in target.host.split(",")],
        "replicaSet": target.replica_set,
        "appname": "tailrace",
        # A write that a failover could take back is not durable.
        "w": "majority",
        "journal": True,
        "retryWrites": target.retry_writes,
        "serverSelectionTimeoutMS": int(target.timeout_s * 1000),
        "socketTimeoutMS": int(target.timeout_s * 1000),
        **TLS_OPTIONS[target.tls],
    }
    if target.tls != "disable":
        made |= {"tlsCAFile": target.ca, "tlsCertificateKeyFile": target.certificate_key}
    if target.user is not None:
        secret = target.password.get_secret_value() if target.password else None
        made |= {"username": target.user, "password": secret, "authSource": target.auth_source}
    if target.auth_mechanism != "default":
        made["authMechanism"] = target.auth_mechanism.upper()
    return {name: value for name, value in made.items() if value is not None}


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise what errors of the driver mean."""
    try:
        yield
    except (PyMongoError, OSError) as error:
        raise classify(error, doing) from error


def classify(error: Exception, doing: str) -> TailraceError:
    """Return what an error means. Its text is left out: it may quote a document."""
    if isinstance(error, BulkWriteError):
        codes = [each["code"] for each in [*error.details["writeErrors"], *error.details["writeConcernErrors"]]]
        return of_code(codes[0], doing)
    if isinstance(error, WriteConcernError):
        return TailraceError(ErrorKind.TARGET_CONNECTION, f"{doing}: not on a majority of members (code {error.code})")
    if isinstance(error, ConnectionFailure | AutoReconnect):
        return TailraceError(
            ErrorKind.TARGET_CONNECTION, f"{doing}: MongoDB cannot be reached ({type(error).__name__})"
        )
    if isinstance(error, OperationFailure):
        return of_code(error.code or 0, doing)
    if isinstance(error, ConfigurationError | OSError):
        return TailraceError(
            ErrorKind.PREREQUISITE,
            f"{doing}: the driver refuses ({type(error).__name__})",
            remedy="see `ca` of the target",
        )
    return TailraceError(ErrorKind.TARGET_CONNECTION, f"{doing}: {type(error).__name__}")


def of_code(code: int, doing: str) -> TailraceError:
    """Return what one of the server's error codes means."""
    if code in REFUSALS:
        return TailraceError(
            ErrorKind.PREREQUISITE,
            f"{doing}: MongoDB refuses (code {code})",
            remedy="`tailrace plan` shows the rights that the user needs",
        )
    if code in BUSY:
        return TailraceError(ErrorKind.TARGET_THROTTLED, f"{doing}: MongoDB is busy (code {code})")
    return TailraceError(ErrorKind.TARGET_CONNECTION, f"{doing}: MongoDB says code {code}")
