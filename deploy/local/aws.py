"""What local servers that speak protocols of AWS have in common: how a target reaches them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Container
from typing import Any

import boto3

from deploy.local.server import LocalServer

ACCESS_KEY_ID, SECRET_ACCESS_KEY = "tailrace", "tailrace-local"
REGION = "us-east-1"


class AwsServer(LocalServer):
    """One server in the place of a service of AWS."""

    @property
    def settings(self) -> dict[str, str]:
        """What a target's section needs to reach it."""
        return {
            "endpoint_url": f"http://127.0.0.1:{self.port}",
            "region": REGION,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
        }

    def client(self, service: str) -> Any:
        """Return a client of one's own, to prepare what is there and to look at it."""
        settings = self.settings
        return boto3.client(
            service,
            endpoint_url=settings["endpoint_url"],
            region_name=settings["region"],
            aws_access_key_id=settings["access_key_id"],
            aws_secret_access_key=settings["secret_access_key"],
        )

    def _answers(self, path: str = "/", refusals: Container[int] = range(400, 600)) -> bool:
        """Tell whether the server answers; an answer with an error's status counts if it is one of `refusals`."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return error.code in refusals
        except OSError:
            return False
