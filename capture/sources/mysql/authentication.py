"""How a password is proved to a server: one function per authentication plug-in.

Sources: MySQL internals, "Authentication Method" pages of the client/server protocol (`mysql_native_password`,
`caching_sha2_password`); MariaDB documentation, "Authentication Plugin - ed25519"; RFC 8017 (OAEP) and RFC 8032
(Ed25519). The arithmetic is Python's own, so that no further package is needed: it runs once per connection, with the
password of one's own configuration.
"""

from __future__ import annotations

import base64
import hashlib
import os

from schemas.errors import ErrorKind, TailraceError

NATIVE = "mysql_native_password"
CACHING_SHA2 = "caching_sha2_password"
ED25519 = "client_ed25519"
CLEAR = "mysql_clear_password"
USUAL = (NATIVE, CACHING_SHA2)
"""What a server's greeting is answered by. It asks again where the account has another plug-in."""

_SHA1_BYTES = 20


def answer(plugin: str, password: bytes, nonce: bytes, *, is_private: bool) -> bytes:
    """Return the first answer to a plug-in's challenge. `is_private`: nobody else can read what is sent.

    Raises CONFIGURATION for a plug-in that is not known, or that would send the password readably.
    """
    if plugin == NATIVE:
        return native(password, nonce)
    if plugin == CACHING_SHA2:
        return caching_sha2(password, nonce)
    if plugin == ED25519:
        return ed25519(password, nonce)
    if plugin == CLEAR and is_private:
        return password + b"\0"
    if plugin == CLEAR:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the server asks for the password in clear over a connection that is not encrypted",
            remedy="set `tls.mode` to `require` or better",
        )
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        f"the server asks for the authentication plug-in {plugin}, which is not supported",
        remedy=f"identify the user by {CACHING_SHA2}, {NATIVE} or (MariaDB) ed25519",
    )


def native(password: bytes, nonce: bytes) -> bytes:
    """Answer `mysql_native_password`: SHA1(password) xor SHA1(nonce + SHA1(SHA1(password)))."""
    if not password:
        return b""
    once = hashlib.sha1(password).digest()  # noqa: S324 - the protocol's
    twice = hashlib.sha1(once).digest()  # noqa: S324 - the protocol's
    return _xor(once, hashlib.sha1(nonce[:_SHA1_BYTES] + twice).digest())  # noqa: S324 - the protocol's


def caching_sha2(password: bytes, nonce: bytes) -> bytes:
    """Answer the fast part of `caching_sha2_password`."""
    if not password:
        return b""
    once = hashlib.sha256(password).digest()
    twice = hashlib.sha256(once).digest()
    return _xor(once, hashlib.sha256(twice + nonce[:_SHA1_BYTES]).digest())


def sealed(password: bytes, nonce: bytes, pem: bytes) -> bytes:
    """Encrypt a password for the server's RSA key, as the full part of `caching_sha2_password` wants it."""
    modulus, exponent = _public_key(pem)
    length = (modulus.bit_length() + 7) // 8
    content = bytes(b ^ nonce[i % _SHA1_BYTES] for i, b in enumerate(password + b"\0"))
    padded = _oaep(content, length)
    return pow(int.from_bytes(padded, "big"), exponent, modulus).to_bytes(length, "big")


def ed25519(password: bytes, nonce: bytes) -> bytes:
    """Sign the nonce as MariaDB's `ed25519` wants it: RFC 8032 with the password as the private key."""
    digest = hashlib.sha512(password).digest()
    secret = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    public = _compressed(_times(secret, _BASE))
    r = int.from_bytes(hashlib.sha512(digest[32:] + nonce).digest(), "little") % _ORDER
    head = _compressed(_times(r, _BASE))
    k = int.from_bytes(hashlib.sha512(head + public + nonce).digest(), "little") % _ORDER
    return head + ((r + k * secret) % _ORDER).to_bytes(32, "little")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


# RSA: the key's numbers out of a PEM file, and OAEP with SHA-1.


def _public_key(pem: bytes) -> tuple[int, int]:
    lines = [line for line in pem.decode("ascii").splitlines() if line and not line.startswith("-----")]
    der = base64.b64decode("".join(lines))
    # SubjectPublicKeyInfo: sequence { sequence { algorithm }, bit string { sequence { modulus, exponent } } }
    outer, _ = _element(der, 0, 0x30)
    _, at = _element(outer, 0, 0x30)
    bits, _ = _element(outer, at, 0x03)
    numbers, _ = _element(bits[1:], 0, 0x30)
    modulus, at = _element(numbers, 0, 0x02)
    exponent, _ = _element(numbers, at, 0x02)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _element(der: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """Return the content of a DER element and where it ends."""
    if der[at] != tag:
        raise ValueError("a public key in a form that is not known")
    length, at = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    return der[at : at + length], at + length


def _oaep(content: bytes, length: int) -> bytes:
    room = length - 2 * _SHA1_BYTES - 2
    if len(content) > room:
        raise TailraceError(ErrorKind.CONFIGURATION, "the password is too long for the server's RSA key")
    label = hashlib.sha1(b"").digest()  # noqa: S324 - the protocol's
    block = label + bytes(room - len(content)) + b"\1" + content
    seed = os.urandom(_SHA1_BYTES)
    masked = _xor(block, _mask(seed, len(block)))
    return b"\0" + _xor(seed, _mask(masked, _SHA1_BYTES)) + masked


def _mask(seed: bytes, length: int) -> bytes:
    rounds = range((length + _SHA1_BYTES - 1) // _SHA1_BYTES)
    parts = [hashlib.sha1(seed + i.to_bytes(4, "big")).digest() for i in rounds]  # noqa: S324 - the protocol's
    return b"".join(parts)[:length]


# Ed25519, RFC 8032 section 5.1, in extended coordinates.

_PRIME = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _PRIME) % _PRIME

_Point = tuple[int, int, int, int]


def _sum(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _PRIME
    b = (p[1] + p[0]) * (q[1] + q[0]) % _PRIME
    c = 2 * p[3] * q[3] * _D % _PRIME
    d = 2 * p[2] * q[2] % _PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _PRIME, g * h % _PRIME, f * g % _PRIME, e * h % _PRIME


def _times(n: int, p: _Point) -> _Point:
    q: _Point = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = _sum(q, p)
        p = _sum(p, p)
        n >>= 1
    return q


def _compressed(p: _Point) -> bytes:
    inverse = pow(p[2], -1, _PRIME)
    x, y = p[0] * inverse % _PRIME, p[1] * inverse % _PRIME
    return (y | (x & 1) << 255).to_bytes(32, "little")


_BASE_Y = 4 * pow(5, -1, _PRIME) % _PRIME
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _PRIME)
