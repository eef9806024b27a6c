"""Rules of object mapping: what targets that are no tables make of rows.

Source: AWS DMS user guide, "Using object mapping to migrate data" of its pages on Kafka, Kinesis and DynamoDB.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from schemas.mappings.parts import BaseRule, Part


class PartitionKey(Part):
    """A partition key of one's own: a text in which `${NAME}` stands for a column."""

    attribute_name: str | None = None
    value: str


class AttributeMapping(Part):
    """One attribute of the object, made of columns."""

    target_attribute_name: Annotated[
        str, Field(min_length=1, validation_alias=AliasChoices("target-attribute-name", "attribute-name"))
    ]
    attribute_type: Literal["scalar", "document"] | None = None
    attribute_sub_type: str | None = None
    """Of a scalar `string`, `number` or `boolean`; of a document `json`, `dynamodb-map`, `dynamodb-list` and others."""
    value: Any
    """A text, or a tree of texts, in which `${NAME}` stands for a column."""

    @property
    def is_document(self) -> bool:
        """Whether the attribute is a tree."""
        return self.attribute_type == "document" or not isinstance(self.value, str)


class AttributeValue(Part):
    """A value that a condition speaks of, in DynamoDB's JSON."""

    name: str
    value: Any


class ConditionExpression(Part):
    """A condition on which DynamoDB takes an item."""

    expression: str
    expression_attribute_values: list[AttributeValue] = Field(default=[])
    expression_attribute_names: list[AttributeValue] = Field(default=[])
    apply_during_cdc: bool = False
    apply_during_full_load: bool = True


class MappingParameters(Part):
    """Keys, columns that do not go as they are, and attributes made of columns."""

    partition_key_type: Literal["attribute-name", "primary-key", "schema-table", "task-id"] | None = None
    partition_key_name: str | None = None
    partition_key: PartitionKey | None = None
    sort_key_name: str | None = None
    exclude_columns: list[str] = Field(default=[])
    attribute_mappings: list[AttributeMapping] = Field(default=[])
    condition_expression: ConditionExpression | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> MappingParameters:
        if self.partition_key_type == "attribute-name" and self.partition_key_name is None:
            raise ValueError("partition-key-type attribute-name needs partition-key-name")
        if self.partition_key is not None and self.partition_key_name is not None:
            raise ValueError("partition-key and partition-key-name both say what the key is")
        names = [attribute.target_attribute_name for attribute in self.attribute_mappings]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two attributes have the name {min(twice)}")
        return self


class ObjectMappingRule(BaseRule):
    """What targets that are no tables make of rows. Their sinks read it."""

    rule_type: Literal["object-mapping"]
    rule_action: Literal["map-record-to-record", "map-record-to-document"] = "map-record-to-record"
    """Columns become attributes of their own, or members of one, `_doc`."""
    rule_target: Literal["table"] | None = None
    target_table_name: str | None = None
    kafka_target_topic: str | None = None
    partition_key: PartitionKey | None = None
    mapping_parameters: MappingParameters = Field(default_factory=MappingParameters)

    @property
    def said(self) -> set[str]:
        """What it says that not every target heeds, in its own words."""
        parameters = self.mapping_parameters
        words = {
            "target-table-name": self.target_table_name,
            "kafka-target-topic": self.kafka_target_topic,
            "partition-key": self.key_template,
            f"partition-key-type {parameters.partition_key_type}": parameters.partition_key_type,
            "sort-key-name": parameters.sort_key_name,
            "condition-expression": parameters.condition_expression,
        }
        return {word for word, value in words.items() if value is not None}

    @property
    def key_template(self) -> str | None:
        """The partition key that the rule states as a text; None: none."""
        given = self.mapping_parameters.partition_key or self.partition_key
        return given.value if given is not None else None
