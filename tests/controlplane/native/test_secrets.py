"""Secrets go in and never come out: not in answers, errors, history, audit or logs."""

import io

import pytest

from headgate.kit.observe.logs import configure_logs
from tests.controlplane.native.samples import certificate


@pytest.fixture
def log():
    """Everything that is logged, as JSON lines."""
    stream = io.StringIO()
    configure_logs("debug", "json", stream=stream)
    yield stream
    configure_logs("warning")


pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_secret_is_shown_as_a_summary(api, pem):
    """GET shows what kind it is, whose certificate, until when, and a fingerprint that changes with the content."""
    first = (await api.put("/secrets/s", json={"tls_certificate": pem})).json()["spec"]
    assert first["type"] == "tls_certificate"
    assert first["subject_alt_names"] == ["api.example.com"]
    assert {"subject", "not_before", "not_after", "serial", "sha256", "fingerprint"} <= set(first)
    second = (await api.put("/secrets/s", json={"tls_certificate": certificate("b.example.com")})).json()["spec"]
    assert second["fingerprint"] != first["fingerprint"]


async def test_a_key_that_does_not_match_is_refused(api, pem):
    """A private key of another certificate is refused with a pointer, before anything is kept."""
    other = certificate("other.example.com")
    answer = await api.put("/secrets/s", json={"tls_certificate": {**pem, "private_key": other["private_key"]}})
    assert (answer.status_code, answer.json()["code"]) == (400, "key_mismatch")
    assert answer.json()["errors"][0]["pointer"] == "/tls_certificate/private_key"


async def test_a_secret_of_the_wrong_type_is_refused_where_it_is_named(api, pem):
    """A CA is no server certificate: the listener that names it as one is refused."""
    await api.put("/secrets/ca", json={"trusted_ca": pem["certificate_chain"]})
    chain = {"name": "a", "tls": {"certificate_secrets": ["ca"]}, "tcp": {"cluster": "c"}}
    await api.put("/clusters/c", json={"endpoints": []})
    answer = await api.put("/listeners/l", json={"port": 19_000, "filter_chains": [chain]})
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_secret_type")
    assert answer.json()["errors"][0]["pointer"] == "/filter_chains/0/tls/certificate_secrets/0"


async def test_no_secret_is_in_any_answer_or_log(api, running, pem, log):
    """Private key and tokens are in no answer of any operation and in no line of the log, also when refused."""
    told: list[str] = []
    key = pem["private_key"]

    async def call(method, path, **arguments):
        answer = await api.request(method, path, **arguments)
        told.append(answer.text + str(answer.headers))

    spec = {"tls_certificate": pem}
    await call("POST", "/secrets?dry_run=true", json={"name": "s", "spec": spec})
    await call("POST", "/secrets", json={"name": "s", "spec": spec})
    await call("POST", "/secrets", json={"name": "s", "spec": spec})
    await call("PUT", "/secrets/s", json={**spec, "extra": key})
    await call("PUT", "/secrets/s", json={"tls_certificate": {**pem, "certificate_chain": key}})
    await call("PUT", "/secrets/s", json={"trusted_ca": key})
    await call("PUT", "/secrets/s", json={"tls_certificate": {"private_key": key}})
    await call(
        "PUT",
        "/secrets/s",
        content=b'{"tls_certificate": "' + key.encode(),
        headers={"content-type": "application/json"},
    )
    await call("PATCH", "/secrets/s", json={"tls_certificate": {**certificate("c.example.com")}})
    await call(
        "POST", "/changes", json={"changes": [{"operation": "put", "kind": "secret", "name": "s", "spec": spec}]}
    )
    for path in ("/secrets", "/secrets/s", "/revisions", "/revisions/1", "/revisions/2", "/audit", "/schemas/secrets"):
        await call("GET", path)
    await call("POST", "/revisions/1/restore?dry_run=true")
    await call("POST", "/revisions/1/restore")
    await call("DELETE", "/secrets/s")
    await call("GET", "/clusters", headers={"authorization": f"Bearer hg_{'C' * 43}"})
    private = [line for line in key.splitlines() if line and not line.startswith("-----")]
    for text in (*told, log.getvalue()):
        assert not [line for line in private if line in text]
        assert running.token not in text
        assert "ciphertext" not in text
        assert "C" * 43 not in text
    assert "request" in log.getvalue()
