"""From librdkafka's error codes to `TailraceError`: the border where Kafka's errors are classified, by code.

Codes: librdkafka's `rd_kafka_resp_err_t` (negative ones are its own, positive ones the protocol's, see Kafka's
protocol guide, "Error Codes").
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import ErrorKind, TailraceError


class FencedError(TailraceError):
    """Another process has taken over this one's transactional id, group instance or partitions.

    What this process had not committed is void; it must end, or begin anew as a standby.
    """

    def __init__(self, message: str) -> None:
        super().__init__(
            ErrorKind.INVARIANT,
            message,
            remedy="another process of this replication is active; stop one of the two",
        )


class SupplantedError(FencedError):
    """Another consumer has joined the group under this one's name: it must end, for it would be thrown out again."""


class ExpiredError(TailraceError):
    """A transaction failed that had been open for longer than brokers allow: a smaller one may be in time."""

    def __init__(self, message: str, open_s: float, timeout_s: float) -> None:
        super().__init__(
            ErrorKind.TRANSPORT,
            f"{message} failed: the transaction had been open for {open_s:.0f} s; the brokers abort it after "
            f"{timeout_s:g} s",
            remedy="if it happens again and again, raise `capture.transaction_timeout_s`",
        )


class OversizedError(TailraceError):
    """A record of a run is larger than the client takes; those before it were taken."""

    def __init__(self, error: TailraceError, index: int) -> None:
        super().__init__(error.kind, error.message, remedy=error.remedy)
        self.index = index


_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
_FENCED_MEMBER = frozenset({KafkaError.FENCED_INSTANCE_ID})

_AUTHENTICATION = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})

_GRANTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant Read, Write, Describe, DescribeConfigs and Create on the topics",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant Read, Describe and Delete on the consumer groups",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant IdempotentWrite on the cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "grant Write and Describe on the transactional id",
}

_CONFIGURATION = {
    KafkaError._INVALID_ARG: "correct the property in the section `kafka`",
    KafkaError.INVALID_CONFIG: "correct the property in `topics.config`",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower `capture.transaction_timeout_s`, or raise the brokers' "
    "transaction.max.timeout.ms",
    KafkaError.INVALID_SESSION_TIMEOUT: "bring the session time-out between the brokers' group.min.session.timeout.ms "
    "and group.max.session.timeout.ms",
    KafkaError.INVALID_REPLICATION_FACTOR: "lower `topics.replication_factor`, or add brokers",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise max.message.bytes of the topic (`topics.config`) and message.max.bytes in "
    "the section `kafka`",
    KafkaError.RECORD_LIST_TOO_LARGE: "raise max.message.bytes of the topic (`topics.config`)",
    KafkaError.POLICY_VIOLATION: "bring `topics` in line with the cluster's policy for new topics",
}

_LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})

_UNSUPPORTED = frozenset({KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE})


def classify(error: KafkaError, doing: str, cause: KafkaError | None = None) -> TailraceError:
    """Return the error to raise for `error`, met while `doing`.

    `cause` is what a connection last complained of: behind a mere time-out it is the answer to "why".
    """
    code = error.code()
    said = f"{doing} failed: {error.str()} ({error.name()})"
    if code in _FENCED:
        return FencedError(f"{said}: a newer producer has the same transactional id")
    if code in _FENCED_MEMBER:
        return SupplantedError(f"{said}: a newer consumer has the same group instance id")
    if code in _AUTHENTICATION:
        return TailraceError(
            ErrorKind.PREREQUISITE,
            said,
            remedy="check security.protocol, the sasl.* and ssl.* properties in the section `kafka`",
        )
    if code in _GRANTS:
        return TailraceError(ErrorKind.PREREQUISITE, said, remedy=_GRANTS[code])
    if code in _CONFIGURATION:
        return TailraceError(ErrorKind.CONFIGURATION, said, remedy=_CONFIGURATION[code])
    if code in _LOST:
        return TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"{said}: what was to be read next is not there; retention removed it, or the topic was made anew",
            remedy="raise the topic's retention, and load its table again",
        )
    if code in _UNSUPPORTED:
        return TailraceError(ErrorKind.PREREQUISITE, said, remedy="Kafka 2.5 or later is required")
    if cause is not None and cause.code() in _AUTHENTICATION:
        return classify(cause, doing)
    why = f"; last complaint of a connection: {cause.str()}" if cause is not None else ""
    return TailraceError(
        ErrorKind.TRANSPORT, said + why, remedy="check bootstrap.servers and that the brokers are up and reachable"
    )


def of_exception(error: BaseException, doing: str, cause: KafkaError | None = None) -> TailraceError:
    """Return the error to raise for an exception that confluent_kafka raised."""
    if isinstance(error, TailraceError):
        return error
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return classify(error.args[0], doing, cause)
    # The library answers with ValueError or TypeError to properties that it cannot convert.
    if isinstance(error, ValueError | TypeError):
        return TailraceError(ErrorKind.CONFIGURATION, f"{doing} failed: {error}", remedy="check the section `kafka`")
    return TailraceError(ErrorKind.TRANSPORT, f"{doing} failed: {type(error).__name__}: {error}")


def retriable(error: BaseException) -> bool:
    """Tell whether the very same call may be repeated as it is (transactional calls resume)."""
    return isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError) and error.args[0].retriable()
