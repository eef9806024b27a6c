"""How a connection begins: the server is reached and greets, TLS, who we are, and the proof of it."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from typing import Self

from capture.sources.mysql import authentication
from capture.sources.mysql.channel import Channel
from capture.sources.mysql.packets import PACKET_MAX, error_of
from runtime.tls import client_context
from schemas.endpoints.mysql import MysqlSource
from schemas.endpoints.section import Tls, TlsMode
from schemas.errors import ErrorKind, TailraceError

LONG_PASSWORD, LONG_FLAG, PROTOCOL_41 = 1, 4, 0x200
SSL, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH = 0x800, 0x2000, 0x8000, 0x80000
PLUGIN_AUTH_LENENC = 0x200000

UTF8MB4 = 45
"""Number of the collation utf8mb4_general_ci, which both servers know."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says first."""

    version_text: str
    is_mariadb: bool
    capabilities: int
    plugin: str
    """The authentication plug-in that it would have."""
    nonce: bytes

    @classmethod
    def of(cls, m: bytes) -> Self:
        """Read a greeting. Raises SOURCE_CONNECTION."""
        if m[0] != 10:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "this is no server of MySQL's protocol version 10")
        end = m.index(0, 1)
        version = m[1:end].decode("ascii", "replace")
        at = end + 5
        nonce = m[at : at + 8]
        capabilities = (
            int.from_bytes(m[at + 9 : at + 11], "little") | int.from_bytes(m[at + 14 : at + 16], "little") << 16
        )
        length = max(13, m[at + 16] - 8)
        at += 27
        nonce = (nonce + m[at : at + length]).removesuffix(b"\0")
        plugin = m[at + length :].split(b"\0")[0].decode("ascii", "replace") or authentication.NATIVE
        return cls(version.removeprefix("5.5.5-"), "MariaDB" in version, capabilities, plugin, nonce)

    @property
    def version(self) -> tuple[int, ...]:
        """The version's three numbers."""
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", self.version_text)
        return tuple(map(int, found.groups())) if found else (0, 0, 0)


def reach(settings: MysqlSource) -> socket.socket:
    """Connect to the server. Raises SOURCE_CONNECTION."""
    try:
        if settings.host.startswith("/"):
            found = socket.socket(socket.AF_UNIX)
            found.settimeout(settings.connect_timeout_s)
            found.connect(settings.host)
            return found
        found = socket.create_connection((settings.host, settings.port), settings.connect_timeout_s)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError as error:
        raise TailraceError(
            ErrorKind.SOURCE_CONNECTION,
            f"no connection to {settings.host}:{settings.port}: {error.strerror or type(error).__name__}",
            remedy="check `source.host` and `source.port`, and that the server runs",
        ) from error
    return found


def log_in(channel: Channel, settings: MysqlSource) -> Greeting:
    """Log in; return what the server has said of itself. Raises SOURCE_CONNECTION, PREREQUISITE or CONFIGURATION."""
    greeting = Greeting.of(channel.receive())
    flags = LONG_PASSWORD | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH
    flags |= PLUGIN_AUTH_LENENC
    head = PACKET_MAX.to_bytes(4, "little") + bytes([UTF8MB4]) + bytes(23)
    is_private = settings.host.startswith("/")
    if not is_private and _is_to_be_encrypted(settings.tls.mode, greeting):
        flags |= SSL
        channel.answer(flags.to_bytes(4, "little") + head)
        _encrypt(channel, settings.tls, settings.host)
        is_private = True
    password = (settings.password.get_secret_value() if settings.password else "").encode()
    plugin = greeting.plugin if greeting.plugin in authentication.USUAL else authentication.NATIVE
    first = authentication.answer(plugin, password, greeting.nonce, is_private=is_private)
    proof = _length(len(first)) + first
    channel.answer(
        flags.to_bytes(4, "little") + head + settings.user.encode() + b"\0" + proof + plugin.encode() + b"\0"
    )
    _authenticate(channel, settings.user, password, greeting.nonce, is_private=is_private)
    return greeting


def _is_to_be_encrypted(mode: TlsMode, greeting: Greeting) -> bool:
    if mode in (TlsMode.DISABLE, TlsMode.ALLOW):
        return False
    is_offered = bool(greeting.capabilities & SSL)
    if not is_offered and mode is not TlsMode.PREFER:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"tls.mode is {mode}, and the server offers no encryption",
            remedy="switch TLS on at the server",
        )
    return is_offered


def _encrypt(channel: Channel, tls: Tls, host: str) -> None:
    context = client_context(tls)
    try:
        channel.encrypt(context, host)
    except (ssl.SSLError, OSError) as error:
        is_trust = isinstance(error, ssl.SSLCertVerificationError)
        raise TailraceError(
            ErrorKind.CONFIGURATION if is_trust else ErrorKind.SOURCE_CONNECTION,
            f"TLS failed: {getattr(error, 'verify_message', None) or type(error).__name__}",
            remedy="check tls.mode, tls.ca and the host name" if is_trust else None,
        ) from error


def _authenticate(channel: Channel, user: str, password: bytes, nonce: bytes, *, is_private: bool) -> None:
    """Do what the server asks for until it is content."""
    while True:
        packet = bytes(channel.next())
        if packet[0] == 0:
            return
        if packet[0] == 0xFF:
            raise error_of(packet, f"the server refused user {user}")
        if packet[0] == 0xFE:
            # Another plug-in: its name and its nonce.
            end = packet.index(0, 1)
            plugin = packet[1:end].decode("ascii", "replace")
            is_ed25519 = plugin == authentication.ED25519
            nonce = packet[end + 1 : end + 33] if is_ed25519 else packet[end + 1 :].removesuffix(b"\0")
            channel.answer(authentication.answer(plugin, password, nonce, is_private=is_private))
        elif packet[0] == 1 and packet[1:2] == b"\4":
            _prove_fully(channel, password, nonce, is_private=is_private)
        elif packet[0] == 1 and packet[1:2] == b"\3":
            continue
        else:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "an unknown step of the server's log-in")


def _prove_fully(channel: Channel, password: bytes, nonce: bytes, *, is_private: bool) -> None:
    """Send the password to a server that has not cached its hash: over TLS as it is, else sealed by its key."""
    if is_private:
        channel.answer(password + b"\0")
        return
    channel.answer(b"\2")
    packet = channel.receive()
    try:
        content = authentication.sealed(password, nonce, packet[1:])
    except (ValueError, IndexError) as error:
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, "the server's RSA key cannot be read") from error
    channel.answer(content)


def _length(n: int) -> bytes:
    return bytes([n]) if n < 0xFB else b"\xfc" + n.to_bytes(2, "little")
