"""What large values are, without any of them in memory."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from schemas.large_values import LargeValue


def digests(values: Iterable[LargeValue]) -> list[tuple[bool, str]]:
    """Return of each whether it is a text, and the SHA-256 of its pieces."""
    found = []
    for value in values:
        digest = sha256()
        for piece in value.pieces():
            digest.update(piece)
        found.append((value.is_text, digest.hexdigest()))
    return found
