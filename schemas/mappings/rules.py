"""The table-mapping document: one model for each type of rule, with the names of the AWS DMS user guide ("Using table
mapping to specify task settings").

Whatever the document says is either understood or refused with the rule's id: a rule that is not heeded would be worse
than none. What is understood and not done here is refused by `support`, in words.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PrivateAttr, Tag, ValidationError, field_validator, model_validator

from schemas import task_document
from schemas.before_image import Columns
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.object_rule import (
    AttributeMapping,
    ConditionExpression,
    MappingParameters,
    ObjectMappingRule,
    PartitionKey,
)
from schemas.mappings.parts import BaseRule, Locator, Part
from schemas.mappings.patterns import names_one
from schemas.mappings.problems import line
from schemas.mappings.table_settings_rule import LobSettings, ParallelLoad, TableSettingsRule
from schemas.mappings.tags import ObjectTag, TaggingRule


class Action(StrEnum):
    """What a transformation does."""

    RENAME = "rename"
    LOWERCASE = "convert-lowercase"
    UPPERCASE = "convert-uppercase"
    ADD_PREFIX = "add-prefix"
    REMOVE_PREFIX = "remove-prefix"
    REPLACE_PREFIX = "replace-prefix"
    ADD_SUFFIX = "add-suffix"
    REMOVE_SUFFIX = "remove-suffix"
    REPLACE_SUFFIX = "replace-suffix"
    ADD_COLUMN = "add-column"
    INCLUDE_COLUMN = "include-column"
    REMOVE_COLUMN = "remove-column"
    CHANGE_DATA_TYPE = "change-data-type"
    DEFINE_PRIMARY_KEY = "define-primary-key"
    BEFORE_IMAGE = "add-before-image-columns"
    DIGITS_MASK = "data-masking-digits-mask"
    DIGITS_RANDOMIZE = "data-masking-digits-randomize"
    HASH_MASK = "data-masking-hash-mask"


NAMING = frozenset(
    {
        Action.RENAME,
        Action.LOWERCASE,
        Action.UPPERCASE,
        Action.ADD_PREFIX,
        Action.REMOVE_PREFIX,
        Action.REPLACE_PREFIX,
        Action.ADD_SUFFIX,
        Action.REMOVE_SUFFIX,
        Action.REPLACE_SUFFIX,
    }
)
"""Actions that give an object another name."""

MASKING = frozenset({Action.DIGITS_MASK, Action.DIGITS_RANDOMIZE, Action.HASH_MASK})

ACTIONS: dict[str, frozenset[Action]] = {
    "schema": NAMING,
    "table": NAMING | {Action.DEFINE_PRIMARY_KEY},
    "column": NAMING
    | MASKING
    | {
        Action.ADD_COLUMN,
        Action.INCLUDE_COLUMN,
        Action.REMOVE_COLUMN,
        Action.CHANGE_DATA_TYPE,
        Action.BEFORE_IMAGE,
    },
    "table-tablespace": NAMING,
    "index-tablespace": NAMING,
}
"""Which actions a target of rules knows."""

_NEEDS: dict[Action, tuple[str, ...]] = {
    Action.RENAME: ("value",),
    Action.ADD_PREFIX: ("value",),
    Action.REMOVE_PREFIX: ("value",),
    Action.REPLACE_PREFIX: ("value", "old_value"),
    Action.ADD_SUFFIX: ("value",),
    Action.REMOVE_SUFFIX: ("value",),
    Action.REPLACE_SUFFIX: ("value", "old_value"),
    Action.ADD_COLUMN: ("value", "data_type"),
    Action.CHANGE_DATA_TYPE: ("data_type",),
    Action.DEFINE_PRIMARY_KEY: ("primary_key_def",),
    Action.BEFORE_IMAGE: ("before_image_def",),
    Action.DIGITS_MASK: ("value",),
}
_NAMED = frozenset({Action.RENAME, Action.ADD_COLUMN})
"""Actions whose value is a name."""
_OF_TYPES = MASKING | {Action.INCLUDE_COLUMN, Action.REMOVE_COLUMN, Action.CHANGE_DATA_TYPE, Action.BEFORE_IMAGE}
"""Actions for which a locator may name the type of the columns that it means."""
_OPTIONAL: dict[Action, tuple[str, ...]] = {Action.ADD_COLUMN: ("expression",)}

_WORDS = ("value", "old_value", "expression", "data_type", "primary_key_def", "before_image_def")


class Condition(Part):
    """One comparison of a filter."""

    filter_operator: Literal["lte", "ste", "gte", "eq", "noteq", "between", "notbetween", "null", "notnull"]
    value: str | int | float | None = None
    start_value: str | int | float | None = None
    end_value: str | int | float | None = None

    @model_validator(mode="before")
    @classmethod
    def _none_is_compared(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("filter-operator") in ("null", "notnull"):
            return {name: value for name, value in given.items() if value != ""}
        return given

    @model_validator(mode="after")
    def _values_fit(self) -> Condition:
        operator = self.filter_operator
        wanted: tuple[str, ...] = ("value",)
        if operator in ("between", "notbetween"):
            wanted = ("start_value", "end_value")
        elif operator in ("null", "notnull"):
            wanted = ()
        for name in ("value", "start_value", "end_value"):
            if (getattr(self, name) is not None) is not (name in wanted):
                verb = "needs" if name in wanted else "takes no"
                raise ValueError(f"{operator} {verb} {name.replace('_', '-')}")
        return self

    @property
    def values(self) -> dict[str, str | int | float]:
        """What is compared with, in order, by where it stands."""
        given = {"value": self.value, "start-value": self.start_value, "end-value": self.end_value}
        return {name: value for name, value in given.items() if value is not None}


class Filter(Part):
    """Conditions on one column, of which one must hold."""

    filter_type: Literal["source"] = "source"
    column_name: str
    filter_conditions: Annotated[list[Condition], Field(min_length=1)]

    @model_validator(mode="after")
    def _negatives_stand_alone(self) -> Filter:
        negative = {"noteq", "notbetween", "notnull"}
        if len(self.filter_conditions) > 1 and any(c.filter_operator in negative for c in self.filter_conditions):
            raise ValueError("a negative condition must be the only one of its filter")
        return self


class SelectionRule(BaseRule):
    """Takes tables, or leaves them out."""

    rule_type: Literal["selection"]
    rule_action: Literal["include", "exclude", "explicit"]
    load_order: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    filters: list[Filter] = Field(default=[])
    is_auto_segmentation_checked: bool | None = Field(default=None, alias="isAutoSegmentationChecked")
    """A box of DMS's console, which writes it into each rule."""

    @model_validator(mode="after")
    def _fits_together(self) -> SelectionRule:
        locator = self.object_locator
        if self.rule_action == "explicit" and not (names_one(locator.schema_name) and names_one(locator.table_name)):
            raise ValueError("an explicit rule names one table: no wildcards")
        if self.filters and self.rule_action == "exclude":
            raise ValueError("filters go with include and explicit")
        return self


class DataType(Part):
    """A type of AWS DMS ("Data types for AWS DMS")."""

    type: str
    length: Annotated[int, Field(ge=1)] | None = None
    precision: Annotated[int, Field(ge=0, le=1000)] | None = None
    scale: Annotated[int, Field(ge=0, le=1000)] | None = None


class KeyDefinition(Part):
    """The key that a table is to have at the target."""

    name: str | None = None
    origin: Literal["primary-key", "unique-index"] = "primary-key"
    columns: Annotated[list[str], Field(min_length=1)]


class BeforeImage(Part):
    """How columns with earlier values are called, and which columns have one."""

    column_prefix: str = "BI_"
    column_suffix: str = ""
    column_filter: Columns = "pk-only"

    @model_validator(mode="after")
    def _names_are_others(self) -> BeforeImage:
        if not self.column_prefix + self.column_suffix:
            raise ValueError("column-prefix and column-suffix are both empty: columns need other names")
        return self


class TransformationRule(BaseRule):
    """Makes something else of a schema, a table or a column at the target."""

    about_columns: ClassVar[bool] = True

    rule_type: Literal["transformation"]
    rule_action: Action
    rule_target: Literal["schema", "table", "column", "table-tablespace", "index-tablespace"]
    value: str | None = None
    old_value: str | None = None
    expression: str | None = None
    data_type: DataType | None = None
    primary_key_def: KeyDefinition | None = None
    before_image_def: BeforeImage | None = None
    at: Literal["apply", "capture"] = "apply"
    """Where it works: not of DMS, which has one place."""

    @model_validator(mode="before")
    @classmethod
    def _earlier_values_are_of_the_key(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("rule-action") == Action.BEFORE_IMAGE:
            return given | {"before-image-def": given.get("before-image-def") or {"column-filter": "pk-only"}}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> TransformationRule:
        action = self.rule_action
        if action not in ACTIONS[self.rule_target]:
            known = ", ".join(sorted(ACTIONS[self.rule_target]))
            raise ValueError(f"{action} is nothing for a {self.rule_target}; known: {known}")
        needed = _NEEDS.get(action, ())
        for name in _WORDS:
            value = getattr(self, name)
            # An empty text says nothing, but what a prefix or a suffix becomes.
            given = value is not None and (value != "" or (name in needed and action not in _NAMED))
            if given and name not in (*needed, *_OPTIONAL.get(action, ())):
                raise ValueError(f"{action} takes no {name.replace('_', '-')}")
            if not given and name in needed:
                raise ValueError(f"{action} needs {name.replace('_', '-')}")
        if self.object_locator.data_type is not None and action not in _OF_TYPES:
            raise ValueError(f"object-locator: {action} takes no data-type: it is for {', '.join(sorted(_OF_TYPES))}")
        if action is Action.DIGITS_MASK and not (self.value and len(self.value) == 1 and "!" <= self.value <= "~"):
            raise ValueError("value is one printable ASCII character")
        if self.at == "capture" and (self.rule_target != "column" or self.speaks_of_changes):
            raise ValueError(
                "`at: capture` is for columns that are made of a row alone: names of tables, keys, earlier "
                "values and facts of changes are for targets"
            )
        return self

    @property
    def speaks_of_changes(self) -> bool:
        """Whether it needs more than the row: facts of the change, or the old row."""
        said = (self.expression or "").upper()
        return self.rule_action is Action.BEFORE_IMAGE or "$AR_H_" in said or "OPERATION_INDICATOR" in said


Rule = Annotated[
    Annotated[SelectionRule, Tag("selection")]
    | Annotated[TransformationRule, Tag("transformation")]
    | Annotated[TableSettingsRule, Tag("table-settings")]
    | Annotated[ObjectMappingRule, Tag("object-mapping")]
    | Annotated[TaggingRule, Tag("post-processing")],
    Discriminator(lambda rule: rule.get("rule-type") if isinstance(rule, dict) else None),
]


class Mappings(Part):
    """A whole document."""

    rules: Annotated[list[Rule], Field(min_length=1)]
    _file: str = PrivateAttr("")

    @field_validator("rules")
    @classmethod
    def _ids_are_unique(cls, rules: list[Rule]) -> list[Rule]:
        # By type: the guide's own examples number object mappings anew.
        seen: set[tuple[str, str]] = set()
        for rule in rules:
            if (rule.rule_type, rule.rule_id) in seen:
                raise ValueError(f"the rule-id {rule.rule_id} stands here twice")
            seen.add((rule.rule_type, rule.rule_id))
        return rules

    def in_file(self, file: str) -> Mappings:
        """Return them as a file's, which messages then name."""
        found = self.model_copy()
        found._file = file
        return found

    def named(self, rule: BaseRule) -> str:
        """Return how a message calls one of the rules."""
        return f"rule {rule.rule_id}" + (f" of {self._file}" if self._file else "")

    @property
    def selections(self) -> list[SelectionRule]:
        """The selection rules, in order."""
        return [rule for rule in self.rules if isinstance(rule, SelectionRule)]

    @property
    def transformations(self) -> list[TransformationRule]:
        """The transformations, in order."""
        return [rule for rule in self.rules if isinstance(rule, TransformationRule)]

    @property
    def table_settings(self) -> list[TableSettingsRule]:
        """The rules for single tables, in order."""
        return [rule for rule in self.rules if isinstance(rule, TableSettingsRule)]

    @property
    def object_mappings(self) -> list[ObjectMappingRule]:
        """The rules for targets that are no tables, in order."""
        return [rule for rule in self.rules if isinstance(rule, ObjectMappingRule)]

    @property
    def taggings(self) -> list[TaggingRule]:
        """The rules for tags of objects in S3, in order."""
        return [rule for rule in self.rules if isinstance(rule, TaggingRule)]


def parse(document: Any, name: str = "the table mappings") -> Mappings:
    """Check a document, or that of a task. Raises CONFIGURATION that lists every problem by its rule's id, and calls
    the document by its name.
    """
    try:
        document = task_document.member(document, task_document.MAPPINGS)
    except ValueError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"{name} cannot be found: {error}") from error
    if isinstance(document, list) or (isinstance(document, dict) and "rule-type" in document):
        what = "a list of rules" if isinstance(document, list) else "one rule alone"
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"{name} are {what}",
            remedy='put it in a document: {"rules": [ … ]}',
        )
    if isinstance(document, dict) and not document.keys().isdisjoint(_OF_SETTINGS):
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"{name} are a document of task settings",
            remedy="name it at `settings`; table mappings have `rules`",
        )
    try:
        return Mappings.model_validate(document)
    except ValidationError as error:
        found = (line(document, problem, MODELS, Mappings) for problem in error.errors(include_url=False))
        problems = list(dict.fromkeys(found))
    # Not chained: what pydantic says is in the problems.
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {name}:\n"
        + "\n".join(f"  {problem}" for problem in problems),
        remedy="docs/reference/table-mappings.md lists what rules may say",
    )


_OF_SETTINGS = ("TargetMetadata", "FullLoadSettings", "ErrorBehavior", "ChangeProcessingTuning")

MODELS: dict[str, type[Part]] = {
    "selection": SelectionRule,
    "transformation": TransformationRule,
    "table-settings": TableSettingsRule,
    "object-mapping": ObjectMappingRule,
    "post-processing": TaggingRule,
    "object-locator": Locator,
    "filters": Filter,
    "filter-conditions": Condition,
    "data-type": DataType,
    "primary-key-def": KeyDefinition,
    "before-image-def": BeforeImage,
    "parallel-load": ParallelLoad,
    "lob-settings": LobSettings,
    "mapping-parameters": MappingParameters,
    "attribute-mappings": AttributeMapping,
    "condition-expression": ConditionExpression,
    "partition-key": PartitionKey,
    "tag-set": ObjectTag,
}
