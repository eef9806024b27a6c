"""Takes large values out of messages before anybody reads them: a short stand-in takes the place of each.

Nothing of a value is copied: it stays a part of the message that it came in.
"""

from __future__ import annotations

from schemas.large_values import Buffer, FiledMessage, LargeValue, value_in, value_of


class Cutting:
    """One message, whose values are gone through from its beginning to its end."""

    def __init__(self, message: bytes | FiledMessage, least: int) -> None:
        """Values of `least` bytes and more are to be taken out."""
        self.message = message
        self.least = least
        self._view = memoryview(message) if isinstance(message, bytes) else message
        self._parts: list[Buffer] = []
        self._kept = 0
        self._values: list[LargeValue] = []

    def take(self, head_at: int, begin: int, end: int, head: bytes, *, is_text: bool) -> None:
        """Take a value out; `head` stands before its stand-in instead of what stands before it, from `head_at` on."""
        value = (
            value_of(self._view[begin:end], is_text=is_text)
            if isinstance(self._view, memoryview)
            else value_in(self._view, begin, end - begin, is_text=is_text)
        )
        self._values.append(value)
        self._parts += [self._view[self._kept : head_at], head, value.stand_in]
        self._kept = end

    def cut(self) -> tuple[bytes, list[LargeValue]]:
        """Return the message with stand-ins, and the values."""
        if not self._values:
            return bytes(self.message), []
        return b"".join([*self._parts, self._view[self._kept :]]), self._values
