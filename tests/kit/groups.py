"""Members of Kafka's consumer groups that are known to be dead: nobody has to wait until the group finds out."""

from __future__ import annotations

import socket
import struct

from confluent_kafka.admin import AdminClient

TIMEOUT_S = 60.0
_LEAVE_GROUP, _VERSION = 13, 1
_NONE, _UNKNOWN_MEMBER_ID = 0, 25


def dismiss(bootstrap: str, group: str) -> None:
    """Let all members leave a group, as those do that end in order. Those with names of their own stay: whoever has a
    name next takes over at once.
    """
    # An answer comes only as long as who asked is there.
    admin = AdminClient({"bootstrap.servers": bootstrap})
    described = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result(TIMEOUT_S)
    coordinator = described.coordinator
    if coordinator is None or not described.members:
        return
    with socket.create_connection((coordinator.host, coordinator.port), TIMEOUT_S) as connection:
        for member in described.members:
            if not member.group_instance_id:
                _leave(connection, group, member.member_id)


def _leave(connection: socket.socket, group: str, member: str) -> None:
    """Ask as the protocol guide has it: LeaveGroup, which the client's library sends for its own member alone."""
    head = struct.pack(">hhi", _LEAVE_GROUP, _VERSION, 1) + _text("tests")
    request = head + _text(group) + _text(member)
    connection.sendall(struct.pack(">i", len(request)) + request)
    (length,) = struct.unpack(">i", _received(connection, 4))
    _, _, wrong = struct.unpack(">iih", _received(connection, length))
    # One that the group has found out about by now has left as well.
    assert wrong in (_NONE, _UNKNOWN_MEMBER_ID), f"{member} does not leave {group}: error {wrong}"


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack(">h", len(content)) + content


def _received(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        block = connection.recv(count - len(content))
        assert block, "the broker closed the connection"
        content += block
    return content
