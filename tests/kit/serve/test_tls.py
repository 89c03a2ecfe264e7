"""HTTPS with each server: versions, client certificates, rotation."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import websockets

from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.serve.lifecycle import Serving
from headgate.kit.tls.files import TlsFiles
from headgate.kit.tls.rotation import Certificates
from headgate.testing.certificates import Authority
from tests.kit.serve.conftest import shown_serial, until, until_refused
from tests.kit.tls.conftest import Folder

TELLS_CLIENTS = pytest.mark.parametrize("kind", ["uvicorn", "hypercorn"], indirect=True)


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Files to serve with."""
    return Folder(tmp_path)


def trusting(ca: Path, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """What a client connects with."""
    context = ssl.create_default_context(cafile=ca)
    if client is not None:
        context.load_cert_chain(*client)
    return context


async def ask(url: str, context: ssl.SSLContext) -> str:
    """GET over a connection of its own."""
    async with httpx.AsyncClient(verify=context, timeout=20) as http:
        return (await http.get(url)).text


async def test_https(http_server, probe, folder):
    """It is served over TLS 1.2 and 1.3, and nothing older; the application sees the scheme."""
    served = http_server(probe, tls=folder.files())
    await served.start()
    assert served.url.startswith("https://")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(folder.ca)
        context.minimum_version = context.maximum_version = version
        assert await ask(served.url, context) == "hello"
    old = trusting(folder.ca)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        await ask(served.url, old)
    assert {scope["scheme"] for scope in probe.scopes} == {"https"}
    await served.stop()


async def test_the_newest_version_only(http_server, probe, folder):
    """With 1.3 as the least a client of 1.2 is refused."""
    served = http_server(probe, tls=TlsFiles(folder.certificate, folder.key, least="1.3"))
    await served.start()
    context = trusting(folder.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError):
        await ask(served.url, context)
    assert await ask(served.url, trusting(folder.ca)) == "hello"
    await served.stop()


async def test_http_2(http_server, kind, folder, probe):
    """Granian and hypercorn offer HTTP/2 over TLS, uvicorn HTTP/1.1."""
    served = http_server(probe, tls=folder.files())
    await served.start()
    context = trusting(folder.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    assert agreed == ("http/1.1" if kind == "uvicorn" else "h2")
    await served.stop()


async def test_a_broken_handshake(http_server, probe, folder):
    """Who speaks no TLS, or breaks off, does not disturb the others."""
    served = http_server(probe, tls=folder.files())
    await served.start()
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(junk)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert await ask(served.url, trusting(folder.ca)) == "hello"
    await served.stop()


async def test_client_certificates(http_server, kind, probe, folder):
    """The certificate a client proved itself with reaches the application, for requests and for WebSockets."""
    served = http_server(probe, tls=folder.files(clients=True))
    if kind == "granian":
        with pytest.raises(FailedPrecondition) as caught:
            await served.start()
        assert caught.value.code == "mtls_not_supported_by_server"
        return
    await served.start()
    context = trusting(folder.ca, folder.client("spiffe://shop.example/orders", common_name="orders"))
    assert await ask(served.url, context) == "hello"
    async with websockets.connect(served.url.replace("http", "ws"), ssl=context) as client:
        await client.send("a")
        await client.recv()
    told = [scope["extensions"]["tls"] for scope in probe.scopes]
    assert [each["client_cert_name"] for each in told] == ["CN=orders", "CN=orders"]
    assert all(each["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----") for each in told)
    await served.stop()


@TELLS_CLIENTS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_clients_without_a_certificate(http_server, probe, folder, version):
    """Where client certificates are required, nothing is served without one, or with one of a stranger."""
    served = http_server(probe, tls=folder.files(clients=True))
    await served.start()
    stranger = Authority("stranger").issue(common_name="orders").write(folder.path, "stranger")
    for client in (None, stranger):
        context = trusting(folder.ca, client)
        context.maximum_version = version
        with pytest.raises(httpx.TransportError):
            await ask(served.url, context)
    assert probe.scopes == []
    await served.stop()


@TELLS_CLIENTS
async def test_client_certificates_that_are_optional(http_server, probe, folder):
    """Where they are optional, the application is told whether there was one."""
    served = http_server(probe, tls=folder.files(clients=True, required=False))
    await served.start()
    await ask(served.url, trusting(folder.ca))
    await ask(served.url, trusting(folder.ca, folder.client(common_name="orders")))
    names = [scope["extensions"]["tls"]["client_cert_name"] for scope in probe.scopes]
    assert names == [None, "CN=orders"]
    await served.stop()


async def test_rotation(http_server, probe, folder):
    """A new certificate is used for new connections; those that are open go on, streams and WebSockets too."""
    certificates = Certificates(folder.files(), every=0)
    served = http_server(probe, tls=certificates)
    await served.start()
    before = await asyncio.to_thread(shown_serial, served.port, folder.ca)
    context = trusting(folder.ca)
    async with (
        httpx.AsyncClient(base_url=served.url, verify=context, timeout=30) as http,
        http.stream("GET", "/stream") as stream,
        websockets.connect(served.url.replace("http", "ws"), ssl=context) as client,
    ):
        chunks = stream.aiter_text()
        await anext(chunks)
        folder.renew()
        assert certificates.refresh()
        async with asyncio.timeout(20):
            while await asyncio.to_thread(shown_serial, served.port, folder.ca) == before:
                pass
        seen = [await asyncio.to_thread(shown_serial, served.port, folder.ca) for _ in range(5)]
        await client.send("still here")
        assert await client.recv() == "still here"
        probe.opened.set()
        assert "".join([chunk async for chunk in chunks]).endswith("data: end\n\n")
    await asyncio.wait_for(served.stop(), 20)
    assert before not in seen
    assert len(set(seen)) == 1


async def test_rotation_without_being_told(http_server, probe, folder):
    """Files that change are noticed while it serves; broken ones leave the old certificate in place."""
    served = http_server(probe, tls=Certificates(folder.files(), every=0.05))
    await served.start()
    before = await asyncio.to_thread(shown_serial, served.port, folder.ca)
    folder.certificate.write_text("broken")
    assert await asyncio.to_thread(shown_serial, served.port, folder.ca) == before
    folder.renew()
    async with asyncio.timeout(20):
        while await asyncio.to_thread(shown_serial, served.port, folder.ca) == before:
            await asyncio.sleep(0.02)
    await served.stop()


@TELLS_CLIENTS
async def test_rotation_of_client_authorities(http_server, probe, folder):
    """A client whose authority is no longer trusted is refused over new connections."""
    certificates = Certificates(folder.files(clients=True), every=0)
    served = http_server(probe, tls=certificates)
    await served.start()
    context = trusting(folder.ca, folder.client(common_name="orders"))
    assert await ask(served.url, context) == "hello"
    Authority("new clients").write(folder.client_ca)
    assert certificates.refresh()
    with pytest.raises(httpx.TransportError):
        await ask(served.url, context)
    await served.stop()


async def test_a_rotation_while_it_drains(http_server, probe, folder):
    """A certificate that changes when serving is about to end opens nothing again."""
    certificates = Certificates(folder.files(), every=0)
    part = http_server(probe, tls=certificates)
    serving = Serving(shutdown_grace=30)
    serving.add(part)
    await serving.start()
    async with httpx.AsyncClient(base_url=part.url, verify=trusting(folder.ca), timeout=30) as http:
        under_way = asyncio.create_task(http.get("/gate"))
        await probe.asked.wait()
        stopping = asyncio.create_task(serving.stop())
        await until_refused(part.port)
        folder.renew()
        serving.reload()
        await until(lambda: certificates.loaded.certificate == folder.certificate.read_bytes())
        await until_refused(part.port)
        probe.opened.set()
        assert (await under_way).text == "through"
    await asyncio.wait_for(stopping, 20)
