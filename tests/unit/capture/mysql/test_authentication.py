"""Proofs of passwords: known answers, and RSA against the private key."""

from __future__ import annotations

import base64
import hashlib

import pytest

from capture.sources.mysql import authentication
from schemas.errors import ErrorKind, TailraceError

NONCE = bytes(range(1, 21))


def test_native_is_what_the_server_checks() -> None:
    # The server keeps SHA1(SHA1(password)) and finds SHA1(password) by it.
    stored = hashlib.sha1(hashlib.sha1(b"pass").digest()).digest()
    answer = authentication.native(b"pass", NONCE)
    once = bytes(a ^ b for a, b in zip(answer, hashlib.sha1(NONCE + stored).digest(), strict=True))
    assert hashlib.sha1(once).digest() == stored
    assert authentication.native(b"", NONCE) == b""


def test_caching_sha2_is_what_the_server_checks() -> None:
    stored = hashlib.sha256(hashlib.sha256(b"pass").digest()).digest()
    answer = authentication.caching_sha2(b"pass", NONCE)
    once = bytes(a ^ b for a, b in zip(answer, hashlib.sha256(stored + NONCE).digest(), strict=True))
    assert hashlib.sha256(once).digest() == stored


@pytest.mark.parametrize(
    ("secret", "message", "first", "second"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b",
            "d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c",
            "387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_ed25519_signs_as_the_standard_says(secret: str, message: str, first: str, second: str) -> None:
    # RFC 8032, section 7.1.
    assert authentication.ed25519(bytes.fromhex(secret), bytes.fromhex(message)).hex() == first + second


def _key() -> tuple[int, int, bytes]:
    p, q = 2**521 - 1, 2**607 - 1
    n, e = p * q, 65537
    d = pow(e, -1, (p - 1) * (q - 1))

    def element(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + content

    def number(value: int) -> bytes:
        return element(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    key = element(0x30, number(n) + number(e))
    algorithm = element(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    text = base64.encodebytes(element(0x30, algorithm + element(3, b"\0" + key)))
    return n, d, b"-----BEGIN PUBLIC KEY-----\n" + text + b"-----END PUBLIC KEY-----\n"


def _mask(seed: bytes, size: int) -> bytes:
    return b"".join(hashlib.sha1(seed + i.to_bytes(4, "big")).digest() for i in range(size // 20 + 1))[:size]


def test_a_sealed_password_opens_with_the_private_key() -> None:
    n, d, pem = _key()
    size = (n.bit_length() + 7) // 8
    sealed = authentication.sealed(b"geheim \xc3\xa4", NONCE, pem)
    block = pow(int.from_bytes(sealed, "big"), d, n).to_bytes(size, "big")
    masked = block[21:]
    seed = bytes(a ^ b for a, b in zip(block[1:21], _mask(masked, 20), strict=True))
    data = bytes(a ^ b for a, b in zip(masked, _mask(seed, len(masked)), strict=True))
    assert data[:20] == hashlib.sha1(b"").digest()
    content = data[20:].lstrip(b"\0")[1:]
    assert bytes(b ^ NONCE[i % 20] for i, b in enumerate(content)) == b"geheim \xc3\xa4\0"
    assert sealed != authentication.sealed(b"geheim \xc3\xa4", NONCE, pem)


def test_a_password_never_goes_out_in_clear() -> None:
    for plugin, private in (("mysql_clear_password", False), ("dialog", True)):
        with pytest.raises(TailraceError) as caught:
            authentication.answer(plugin, b"s3cret", NONCE, is_private=private)
        assert caught.value.kind is ErrorKind.CONFIGURATION
        assert "s3cret" not in str(caught.value)
