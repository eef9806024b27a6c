"""Named places at which a process can be made to die or to stand still, so that tests meet every crash that matters.

Armed by the environment variable `TAILRACE_FAILPOINT` alone, which the services read when they start:

    TAILRACE_FAILPOINT=capture.commit.after         SIGKILL of this process when it first gets there
    TAILRACE_FAILPOINT=capture.commit.after:3       when it gets there for the third time
    TAILRACE_FAILPOINT=capture.commit.after:3:stop  SIGSTOP instead: it stands still until it gets SIGCONT

Unarmed, a failpoint is one comparison. None is on the way of a single row.
"""

from __future__ import annotations

import os
import signal

from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggestion

VARIABLE = "TAILRACE_FAILPOINT"

FAILPOINTS = {
    "capture.start.claimed": "the transactional id is claimed; nothing was read from Kafka yet",
    "capture.settle.checkpoint": "a hanging checkpoint has got its end; other records hang still",
    "capture.settle.kept": "hanging records that were committed stand in the checkpoints topic, to be published again",
    "capture.settle.ended": "nothing hangs any more; what was kept is not published again yet",
    "capture.settle.again": "what was kept is published again; the start goes on",
    "capture.start.prepared": "slot and publication are there; the first Kafka transaction is not committed",
    "capture.start.committed": "the first Kafka transaction is committed; the log is not open",
    "capture.produce.before": "changes of the log are read, none of them is with the producer",
    "capture.produce.after": "changes are with the producer, in an open Kafka transaction",
    "capture.commit.before": "the checkpoint is in the Kafka transaction, which is not committed",
    "capture.commit.after": "the Kafka transaction is committed; the source was not told",
    "capture.acknowledge.after": "the source was told that it may discard its log",
    "capture.load.planned": "a table is cut into chunks, which no checkpoint says yet",
    "capture.load.middle": "some rows of a chunk are on their way into the open Kafka transaction, others are not",
    "capture.load.finished": "a chunk's rows are with the producer, its progress is not committed",
    "capture.load.announce": "a complete load is committed; the announcement of it is not",
    "capture.schema.before": "the log told of a new version of a table; nothing of it is published",
    "capture.schema.after": "the new version is in the open Kafka transaction",
    "capture.drain.before": "a stop was asked for; the last transaction is not committed",
    "apply.claim.before": "partitions are assigned, and not claimed at the target",
    "apply.claim.after": "partitions are claimed at the target: earlier owners are fenced",
    "apply.revoke.before": "partitions are taken away; what is being written is not settled",
    "apply.prepare.after": "the target's table is made, or has a new version's columns; rows of it are not written",
    "apply.write.before": "a batch is handed over; nothing of it is at the target",
    "apply.write.after": "rows are in the target's open transaction, their offsets are not",
    "apply.flush.before": "rows and offsets are in the target's open transaction",
    "apply.flush.after": "the target has committed; the group's offsets are older",
    "apply.offsets.after": "the group's offsets are committed",
    "apply.truncate.before": "a table is emptied in the target's open transaction",
    "apply.complete.before": "a loaded table's indexes and keys are made, in the target's open transaction",
    "apply.park.after": "refused records are on the dead-letters topic; the target has not passed them",
    "apply.release.applied": "a parked key's records are at the target; the topic does not say so",
}
"""Every failpoint, with what is so when a process gets there."""


class _Armed:
    name = ""
    left = 0
    number = signal.SIGKILL


def arm(text: str | None) -> None:
    """Arm the failpoint that the variable's value names; None disarms. Raises CONFIGURATION for what is none."""
    _Armed.name, _Armed.left, _Armed.number = "", 0, signal.SIGKILL
    if not text:
        return
    name, _, rest = text.partition(":")
    nth, _, mode = rest.partition(":")
    if name not in FAILPOINTS:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"{VARIABLE} names no failpoint: {name!r}",
            remedy=suggestion(name, FAILPOINTS, "docs/reference/failpoints.md lists them"),
        )
    if mode not in ("", "kill", "stop") or (nth and not (nth.isdecimal() and int(nth) > 0)):
        raise TailraceError(ErrorKind.CONFIGURATION, f"{VARIABLE} is written NAME[:NTH[:kill|stop]], not {text!r}")
    _Armed.name, _Armed.left = name, int(nth or 1)
    _Armed.number = signal.SIGSTOP if mode == "stop" else signal.SIGKILL


def arm_from_environment() -> None:
    """Arm what the environment names; without the variable nothing is ever armed."""
    arm(os.environ.get(VARIABLE))


def hit(name: str) -> None:
    """Die or stand still here, if this failpoint is armed and it is time. One that has acted once is spent."""
    if name != _Armed.name:
        return
    _Armed.left -= 1
    if _Armed.left:
        return
    _Armed.name = ""
    # Past the logging, whose buffers would be lost: that it was hit must be seen.
    os.write(2, f"failpoint {name}\n".encode())
    os.kill(os.getpid(), _Armed.number)


def markdown() -> str:
    """Return the reference page."""
    lines = [
        "# Failpoints",
        "",
        "Made from `runtime/failpoints.py`; do not edit. For tests: the environment variable `TAILRACE_FAILPOINT`, as",
        "`NAME[:NTH[:kill|stop]]`, makes a service die (SIGKILL) or stand still (SIGSTOP) at one of these places.",
        "Without the variable they do nothing.",
        "",
        "| name | what is so there |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in FAILPOINTS.items()]
    return "\n".join(lines) + "\n"
