"""Contexts of TLS for databases: what cannot be used is named."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from runtime.tls import client_context
from schemas.endpoints.section import Tls
from schemas.errors import ErrorKind, TailraceError


@pytest.mark.parametrize(
    ("mode", "verifies", "names"),
    [("prefer", False, False), ("require", False, False), ("verify-ca", True, False), ("verify-full", True, True)],
)
def test_a_mode_says_what_is_looked_at(mode: str, verifies: bool, names: bool) -> None:
    context = client_context(Tls.model_validate({"mode": mode, "ca": "system"}))
    assert (context.verify_mode is ssl.CERT_REQUIRED, context.check_hostname) == (verifies, names)


@pytest.mark.parametrize("words", [{"ca": "ca.pem"}, {"cert": "cert.pem"}, {"ca": "none.pem"}, {"cert": "none.pem"}])
def test_a_file_that_cannot_be_used_is_a_mistake_of_the_configuration(tmp_path: Path, words: dict[str, str]) -> None:
    for name in ("ca.pem", "cert.pem"):
        (tmp_path / name).write_text("no certificate")
    ((section, name),) = words.items()
    tls = Tls.model_validate({"mode": "verify-full", section: str(tmp_path / name)})
    with pytest.raises(TailraceError) as caught:
        client_context(tls)
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert ("there is no file" in str(caught.value)) is (name == "none.pem")
