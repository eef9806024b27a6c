"""The classification of librdkafka's errors."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from runtime import exit_codes
from runtime.kafka.client import admin_properties, consumer_properties, producer_properties
from runtime.kafka.errors import FencedError, classify, of_exception
from schemas.errors import Action, ErrorKind, TailraceError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TRANSPORT, ErrorKind.TRANSPORT),
        (KafkaError._ALL_BROKERS_DOWN, ErrorKind.TRANSPORT),
        (KafkaError._TIMED_OUT, ErrorKind.TRANSPORT),
        (KafkaError.NOT_ENOUGH_REPLICAS, ErrorKind.TRANSPORT),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ErrorKind.TRANSPORT),
        (KafkaError.ILLEGAL_GENERATION, ErrorKind.TRANSPORT),
        (KafkaError._FENCED, ErrorKind.INVARIANT),
        (KafkaError.PRODUCER_FENCED, ErrorKind.INVARIANT),
        (KafkaError.INVALID_PRODUCER_EPOCH, ErrorKind.INVARIANT),
        (KafkaError.FENCED_INSTANCE_ID, ErrorKind.INVARIANT),
        (KafkaError._AUTHENTICATION, ErrorKind.PREREQUISITE),
        (KafkaError.SASL_AUTHENTICATION_FAILED, ErrorKind.PREREQUISITE),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ErrorKind.PREREQUISITE),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, ErrorKind.PREREQUISITE),
        (KafkaError.UNSUPPORTED_VERSION, ErrorKind.PREREQUISITE),
        (KafkaError._INVALID_ARG, ErrorKind.CONFIGURATION),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, ErrorKind.CONFIGURATION),
        (KafkaError.MSG_SIZE_TOO_LARGE, ErrorKind.CONFIGURATION),
        (KafkaError.INVALID_REPLICATION_FACTOR, ErrorKind.CONFIGURATION),
        (KafkaError._AUTO_OFFSET_RESET, ErrorKind.SOURCE_LOG_LOST),
        (KafkaError.OFFSET_OUT_OF_RANGE, ErrorKind.SOURCE_LOG_LOST),
    ],
)
def test_errors_are_classified_by_code_and_have_a_remedy(code: int, kind: ErrorKind) -> None:
    error = classify(KafkaError(code, "said so"), "testing")
    assert error.kind is kind
    assert error.remedy
    assert error.message.startswith("testing failed: said so (")
    assert isinstance(error, FencedError) == (kind is ErrorKind.INVARIANT)


def test_a_time_out_behind_a_failed_login_is_a_failed_login() -> None:
    cause = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error")
    assert classify(KafkaError(KafkaError._TIMED_OUT), "reaching Kafka", cause).kind is ErrorKind.PREREQUISITE
    cause = KafkaError(KafkaError._TRANSPORT, "connection refused")
    error = classify(KafkaError(KafkaError._TIMED_OUT), "reaching Kafka", cause)
    assert error.kind is ErrorKind.TRANSPORT
    assert "connection refused" in error.message


def test_exceptions_of_the_library_are_classified_too() -> None:
    original = TailraceError(ErrorKind.DECODE, "mine")
    assert of_exception(original, "x") is original
    assert of_exception(KafkaException(KafkaError(KafkaError._FENCED)), "x").action is Action.STOP
    assert of_exception(ValueError("bad value"), "x").kind is ErrorKind.CONFIGURATION
    assert of_exception(OSError("gone"), "x").kind is ErrorKind.TRANSPORT


def test_each_client_gets_the_properties_that_are_its() -> None:
    kafka = {
        "bootstrap.servers": "b",
        "security.protocol": "SSL",
        "compression.type": "zstd",
        "linger.ms": 50,
        "fetch.max.bytes": 1000,
        "enable.idempotence": False,
    }
    produced = producer_properties(kafka, {"linger.ms": 5, "batch.size": 1}, {"enable.idempotence": True})
    assert produced == {
        "bootstrap.servers": "b",
        "security.protocol": "SSL",
        "compression.type": "zstd",
        "linger.ms": 50,
        "batch.size": 1,
        "enable.idempotence": True,
    }
    consumed = consumer_properties(kafka, {"fetch.max.bytes": 1}, {})
    assert consumed["fetch.max.bytes"] == 1000
    assert "linger.ms" not in consumed
    assert admin_properties(kafka).keys() == {
        "client.id",
        "bootstrap.servers",
        "security.protocol",
        "enable.idempotence",
    }


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_error_has_an_exit_code(kind: ErrorKind) -> None:
    code = exit_codes.of(TailraceError(kind, "x"))
    assert code == (2 if kind in {ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE} else 3)


def test_an_unexpected_exception_has_the_internal_exit_code() -> None:
    assert exit_codes.of(KeyError("x")) == exit_codes.INTERNAL
