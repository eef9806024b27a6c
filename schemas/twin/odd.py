"""What the twin raises where it leaves a row to the careful way."""

from __future__ import annotations


class Odd(ValueError):
    """A value or a message is not of the usual form."""
