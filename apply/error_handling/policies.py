"""What is done about changes that cannot be written: parked, left out, or an error that suspends or ends, by policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from apply.batching.batch import Record
from apply.error_handling.conflicts import NOBODY_LOOKS, ConflictPolicies
from apply.error_handling.parking import EARLY, QUEUED, Identity, ParkedRecord
from apply.errors import FinalError, SuspendingError
from apply.outcome import Outcome, place_of
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import ConflictPolicy, ErrorPolicies

log = get_logger(__name__)


class DeadLetters(Protocol):
    """Where parked records go."""

    def park(self, records: Iterable[tuple[Record, str, str]]) -> list[tuple[bytes | None, ParkedRecord]]:
        """Write records with the kind and the message of why they wait; return them once Kafka has them."""
        ...

    def end(self, over: Mapping[Identity, ParkedRecord]) -> None:
        """Say of keys that what waits of them, through these records, counts no more; return once Kafka has it."""
        ...


@dataclass(frozen=True, slots=True)
class Escalation:
    """What happens to a table of which so many changes were left out."""

    rows: int = 0
    """How many; 0: no limit."""
    policy: str = "suspend"


@dataclass(frozen=True, slots=True)
class Policies:
    """`park`, `skip`, `suspend` or `stop` for each cause; see `schemas.policies.ErrorPolicies`."""

    row_rejected: str = "park"
    row_conflict: str = "park"
    decode: str = "park"
    rejections: Escalation = Escalation()
    conflicts: Escalation = Escalation()
    contradictions: ConflictPolicies = NOBODY_LOOKS

    def of(self, error: TailraceError) -> str:
        """Return the policy for a row that the target refuses."""
        return self.row_conflict if error.kind is ErrorKind.ROW_CONFLICT else self.row_rejected

    def without_parking(self) -> Policies:
        """Return them for a target at which nothing may come later than it stands in the topics."""
        rejected, conflict, decode = (
            "stop" if policy == "park" else policy for policy in (self.row_rejected, self.row_conflict, self.decode)
        )
        return replace(self, row_rejected=rejected, row_conflict=conflict, decode=decode)


def policies_of(errors: ErrorPolicies) -> Policies:
    """Return what the settings say."""
    return Policies(
        str(errors.row_rejected),
        str(errors.row_conflict),
        str(errors.decode),
        Escalation(errors.escalation_rows, str(errors.escalation)),
        Escalation(errors.conflict_escalation_rows, str(errors.conflict_escalation)),
        ConflictPolicies(
            *(
                None if policy is ConflictPolicy.APPLY else str(policy)
                for policy in (errors.insert_conflict, errors.update_conflict, errors.delete_conflict)
            )
        ),
    )


class PolicyEnforcer:
    """Does what the policies say about what one target refuses, and counts what it has left out since it began."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._left_out: Counter[tuple[str, bool]] = Counter()
        """By topic, and whether it was for a conflict."""

    def settle(self, outcome: Outcome) -> None:
        """Count what a batch that is written has left out."""
        self._left_out.update(outcome.left_out)

    def enforce(
        self,
        policy: str,
        error: TailraceError,
        records: Sequence[Record],
        parked: list[tuple[Record, str, str]],
        outcome: Outcome,
    ) -> None:
        """Do what the policy says about records that cannot be written for one reason, one at least.

        Those to park are added to `parked`. Raises what suspends the table or ends the service.
        """
        place = place_of(records[0])
        position = f"{place.partition.topic}/{place.partition.partition}@{place.offset}"
        topic = place.partition.topic
        cause = (topic, error.kind is ErrorKind.ROW_CONFLICT)
        if policy == "skip":
            limit = self._policies.conflicts if cause[1] else self._policies.rejections
            count = self._left_out[cause] + outcome.left_out[cause] + len(records)
            if limit.rows and count >= limit.rows:
                policy = limit.policy
        if policy == "suspend":
            raise SuspendingError(topic, error, position=position) from error
        if policy == "stop":
            raise FinalError(
                error.kind, error.message, remedy=error.remedy, table=error.table, position=position
            ) from error
        outcome.exceptions.append((records[-1], error.message, position))
        if policy == "skip":
            outcome.left_out[cause] += len(records)
            log.warning("record skipped", reason=error.message, kind=str(error.kind), position=position)
            return
        log.warning("key parked", reason=error.message, kind=str(error.kind), position=position)
        _park(records, str(error.kind), error, parked)

    def park_early(
        self, error: TailraceError, records: Sequence[Record], parked: list[tuple[Record, str, str]]
    ) -> None:
        """Park records that violate a key before the changes which may settle it, whatever the policy says."""
        log.info("key parked until the changes are applied", reason=error.message, topic=records[0].topic())
        _park(records, EARLY, error, parked)


def _park(records: Sequence[Record], kind: str, error: TailraceError, parked: list[tuple[Record, str, str]]) -> None:
    """Add the records of one key to those to park."""
    parked.append((records[0], kind, error.message))
    parked += [(record, QUEUED, "") for record in records[1:]]
