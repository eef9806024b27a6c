"""What Maven brings is what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local import maven
from deploy.local.cache import DownloadError, LocalServerError


def test_a_file_of_another_digest_is_refused_and_no_test_skipped_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bring(_arguments: Sequence[str], _title: str) -> None:
        (tmp_path / "a.jar").write_bytes(b"brought")

    monkeypatch.setattr(maven, "_maven", bring)
    digest = hashlib.sha256(b"brought").hexdigest()
    assert maven.copy_artifact("group:a:1:jar", tmp_path, "A server", digest) == tmp_path / "a.jar"
    with pytest.raises(LocalServerError, match=f"A server: .* has the digest {digest}, and not 00") as caught:
        maven.copy_artifact("group:a:1:jar", tmp_path, "A server", "00")
    assert not isinstance(caught.value, DownloadError)
