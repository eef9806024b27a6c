"""A real object store that speaks S3's protocol, on files of this machine: versitygw, built by `go install`.

Its conditional writes are exact. Unlike S3 an object and a "folder" of one name exclude each other, and it takes no
notice of KMS keys. What cannot be had is a `DownloadError`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, AwsServer
from deploy.local.cache import DownloadError, cached, download

VERSION = "1.8.0"


def program() -> Path:
    """Return the gateway's program, built once: it takes two cores some five minutes. Raises DownloadError."""

    def make(directory: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise DownloadError("versitygw is built with Go, which is not installed")
        where = {"GOBIN": str(directory), "GOFLAGS": "-mod=mod"}
        download([go, "install", f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}"], "versitygw", where)

    named = os.environ.get("TAILRACE_VERSITYGW")
    return Path(named) if named else cached(f"versitygw-{VERSION}", make) / "versitygw"


class S3Server(AwsServer):
    """One gateway, with its buckets in `directory`."""

    title = "the S3 gateway"

    def _prepare(self) -> None:
        program()
        (self.directory / "buckets").mkdir(exist_ok=True)

    def _command(self) -> list[str]:
        keys = ["--access", ACCESS_KEY_ID, "--secret", SECRET_ACCESS_KEY, "--region", REGION]
        place = ["--port", f"127.0.0.1:{self.port}", "posix", str(self.directory / "buckets")]
        return [str(program()), *keys, *place]

    def _ready(self) -> bool:
        # Nobody may list buckets without a signature: it is there.
        return self._answers(refusals=(400, 403))
