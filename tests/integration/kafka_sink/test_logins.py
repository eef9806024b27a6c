"""Logins to the target's cluster: SCRAM by properties, and tokens, asked for by every kind of client."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from apply.sink import TopicPartition
from apply.sinks.kafka import login
from apply.sinks.kafka.sink import KafkaSink
from deploy.local.kafka import KafkaServer
from deploy.local.process import free_port
from schemas.endpoints.kafka import KafkaTarget

pytestmark = pytest.mark.integration

PASSWORD = "open-sesame"
PLACE = TopicPartition("shop.public.orders", 0)


class GuardedKafka(KafkaServer):
    """A broker with a listener that wants a login, by SCRAM or a token that is not signed, and one that wants a
    client's certificate.
    """

    guarded_port: int
    mutual_port: int

    def _write_properties(self) -> Path:
        self.guarded_port, self.mutual_port = free_port(), free_port()
        path = super()._write_properties()
        extra = {"listeners": f"GUARDED://127.0.0.1:{self.guarded_port},MUTUAL://127.0.0.1:{self.mutual_port}"}
        extra["advertised.listeners"] = extra["listeners"]
        extra["listener.security.protocol.map"] = "GUARDED:SASL_PLAINTEXT,MUTUAL:SSL"
        broker, client = certificate(self.directory, "broker"), certificate(self.directory, "client", PASSWORD)
        keys = self.directory / "broker.keys"
        keys.write_text(broker.with_suffix(".key").read_text() + broker.read_text())
        lines = []
        for line in path.read_text().splitlines():
            name = line.partition("=")[0].strip()
            lines.append(f"{line},{extra[name]}" if name in extra else line)
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
        lines += [
            "listener.name.guarded.sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER",
            f"listener.name.guarded.scram-sha-512.sasl.jaas.config={scram}",
            f"listener.name.guarded.oauthbearer.sasl.jaas.config={bearer}",
            "listener.name.mutual.ssl.client.auth=required",
            "listener.name.mutual.ssl.keystore.type=PEM",
            f"listener.name.mutual.ssl.keystore.location={keys}",
            "listener.name.mutual.ssl.truststore.type=PEM",
            f"listener.name.mutual.ssl.truststore.location={client}",
        ]
        path.write_text("\n".join(lines) + "\n")
        return path


def certificate(directory: Path, name: str, password: str | None = None) -> Path:
    """Make a certificate that signs itself, and beside it its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make certificates with")
    found = directory / f"{name}.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", f"/CN={name}"]
    locked = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    files = ["-keyout", str(found.with_suffix(".key")), "-out", str(found)]
    made = [openssl, *words, *locked, *files, "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(made, check=True, capture_output=True)
    return found


@pytest.fixture(scope="module")
def guarded(servers_directory: Path) -> Iterator[GuardedKafka]:
    with GuardedKafka(servers_directory / "kafka-guarded") as server:
        admin = AdminClient({"bootstrap.servers": server.address.bootstrap})
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192)
        wanted = UserScramCredentialUpsertion("copier", credential, PASSWORD.encode())
        for future in admin.alter_user_scram_credentials([wanted]).values():
            future.result(60)
        yield server


def write_and_claim_again(guarded: GuardedKafka, section: KafkaTarget, **changes: str) -> None:
    """Let every kind of client of the sink log in: admin, producer, both readers of positions, and the fencing one."""
    kafka = login.properties(section) | changes
    for offset in (1, 2):
        sink = KafkaSink("shop", "copy", section, kafka, database="shop")
        assert sink.load_offsets([PLACE]) == ({PLACE: 1} if offset == 2 else {})
        sink.stage_offsets({PLACE: offset})
        sink.flush()
        sink.close()
    assert sink.forget() == ["deleted the topic shop.tailrace.positions.copy of the target's cluster"]


def test_scram_is_a_matter_of_properties(guarded: GuardedKafka) -> None:
    kafka = {
        "bootstrap.servers": f"127.0.0.1:{guarded.guarded_port}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "copier",
        "sasl.password": PASSWORD,
    }
    write_and_claim_again(guarded, KafkaTarget.model_validate({"engine": "kafka", "kafka": kafka}))


def test_a_client_is_known_by_its_certificate(guarded: GuardedKafka) -> None:
    kafka = {
        "bootstrap.servers": f"127.0.0.1:{guarded.mutual_port}",
        "security.protocol": "SSL",
        "ssl.ca.location": str(guarded.directory / "broker.pem"),
        "ssl.certificate.location": str(guarded.directory / "client.pem"),
        "ssl.key.location": str(guarded.directory / "client.key"),
        "ssl.key.password": PASSWORD,
    }
    write_and_claim_again(guarded, KafkaTarget.model_validate({"engine": "kafka", "kafka": kafka}))
    nobody: dict[str, Any] = {
        name: value for name, value in kafka.items() if not name.startswith(("ssl.cert", "ssl.key"))
    }
    with pytest.raises(KafkaException):
        AdminClient(nobody).list_topics(timeout=5)


def iam_target(bootstrap: str) -> KafkaTarget:
    return KafkaTarget.model_validate(
        {
            "engine": "kafka",
            "kafka": {"bootstrap.servers": bootstrap},
            "authentication": "msk-iam",
            "region": "eu-central-1",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": PASSWORD,
        }
    )


def test_every_client_asks_for_a_token(guarded: GuardedKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsigned(_: KafkaTarget) -> tuple[str, float]:
        now = time.time()
        parts = ({"alg": "none"}, {"sub": "copier", "iat": now, "exp": now + 600})
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return ".".join([*encoded, ""]), now + 600

    monkeypatch.setattr(login, "token", unsigned)
    # No certificate here: what MSK has besides is TLS.
    section = iam_target(f"127.0.0.1:{guarded.guarded_port}")
    write_and_claim_again(guarded, section, **{"security.protocol": "SASL_PLAINTEXT"})


def test_a_token_of_msk_is_a_signed_request_to_connect() -> None:
    token, expires_s = login.token(iam_target("b-1.shop.kafka.eu-central-1.amazonaws.com:9098"))
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = parse_qs(url.query)
    assert url.hostname == "kafka.eu-central-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Credential"][0].endswith("/eu-central-1/kafka-cluster/aws4_request")
    assert len(query["X-Amz-Signature"][0]) == 64
    assert PASSWORD not in token
    assert expires_s > time.time() + 60
