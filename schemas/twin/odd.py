"""What the twin raises where it leaves a row to the careful way."""

from __future__ import annotations


class Odd(ValueError):
    """A value or a message is not of the usual form."""


LARGE_BYTES = 1 << 18
"""Longer messages and records are left to it, too: what they could become would need much memory."""
