"""Certificates of a test's own, made by `openssl`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.postgresql import server_user

PASSWORD = "of-the-key"
_NEW = ("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(directory: Path) -> None:
    """Make an authority, `other.pem` beside it, a server's certificate for `localhost`, and one of `certified`.

    That one's key is there twice: plain, and `locked.key` under `PASSWORD`. Skips the test where there is no `openssl`.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make certificates with")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=directory, check=True, capture_output=True)

    for authority in ("ca", "other"):
        files = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        run(*_NEW, "-x509", "-days", "30", "-subj", f"/CN={authority}", *files)
    (directory / "names").write_text("subjectAltName = DNS:localhost")
    for name, subject in (("server", "localhost"), ("client", "certified")):
        run(*_NEW, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        run(
            *("x509", "-req", "-in", f"{name}.csr", "-days", "30", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem"),
        )
        (directory / f"{name}.key").chmod(0o600)
    run("pkey", "-in", "client.key", "-aes256", "-passout", f"pass:{PASSWORD}", "-out", "locked.key")
    user = server_user()
    if user is not None:
        os.chown(directory / "server.key", user, -1)
