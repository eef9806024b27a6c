"""The ids of Avro schemas that a registry gives: asked for once per table version, then kept on the schemas topic.

So a capture that starts while the registry is out goes on with the versions that it has; only a new one must wait.
"""

from __future__ import annotations

from contextlib import closing

from capture.publishing.hanging import wait_for_markers
from capture.publishing.schemas_topic import Catalogue
from runtime.kafka.admin import Topics
from runtime.kafka.producer import PlainProducer
from runtime.logging import get_logger
from runtime.registry import Registry
from schemas.codecs import Encoder, SchemaIds
from schemas.errors import TailraceError
from schemas.registry import NOOP_KEY, TableVersion
from schemas.settings import Settings

log = get_logger(__name__)


MARKER_TIMEOUT_S = 5.0
"""For so long the marker is waited for; other replications' transactions may be open on the same topic."""


def seal_registry_topic(settings: Settings, topics: Topics) -> None:
    """Write a record that says nothing behind what was committed to the registry's topic.

    A transaction ends with a marker, which no consumer ever sees: a registry that is pointed at the topic, and answers
    only when it has read the last offset (Karapace), would wait for ever. What fails is tried with the next start.
    """
    try:
        # A commit returns before its marker is written.
        wait_for_markers(topics, [settings.topics.registry_topic], MARKER_TIMEOUT_S)
        with closing(PlainProducer(settings.kafka)) as producer:
            producer.produce(settings.topics.registry_topic, NOOP_KEY, None, 0)
            producer.flush()
    except TailraceError as error:
        log.warning("the registry's topic is left with a marker at its end", error=str(error))


class Registration:
    """Knows what a registry has said of the versions in a catalogue. Without a registry it says nothing of any."""

    def __init__(self, catalogue: Catalogue, registry: Registry | None) -> None:
        self._catalogue = catalogue
        self._registry = registry

    @property
    def is_by_registry(self) -> bool:
        """Whether new versions are registered."""
        return self._registry is not None

    def suits(self, version: TableVersion, encoder: Encoder) -> bool:
        """Tell whether a version has the schemas that its encoder writes, with ids of the kind that is configured now.

        `encoder` has ids of our own making: hashes, by which schemas are compared.
        """
        hashes = (encoder.key_schema_id, encoder.value_schema_id)
        known = (version.key_schema_id, version.value_schema_id)
        if self.is_by_registry and hashes != (None, None):
            return version.registered == hashes
        return version.registered is None and known == hashes

    def ids(self, encoder: Encoder, topic: str) -> SchemaIds | None:
        """Return the ids for a version that is written to a topic; None: those that the encoder has.

        Raises what the registry says of a new one (`runtime.registry.Registry.identify`).
        """
        known = self._catalogue.entry(encoder.table)
        if known is not None:
            if known.registered is None or known.value_schema_id is None:
                return None
            return SchemaIds(known.key_schema_id, known.value_schema_id)
        if self._registry is None or encoder.value_schema_text is None:
            return None
        key = encoder.key_schema_text and self._registry.identify(topic, "key", encoder.key_schema_text)
        return SchemaIds(key or None, self._registry.identify(topic, "value", encoder.value_schema_text))
