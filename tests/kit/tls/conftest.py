"""Certificates of a test's own authority, in files."""

import ssl
from pathlib import Path
from typing import NamedTuple

import pytest

from headgate.kit.tls.files import TlsFiles
from headgate.testing.certificates import Authority


class Folder:
    """A server's files, written by `authority`, and another authority for its clients."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority, self.clients = Authority("servers"), Authority("clients")
        self.ca = self.authority.write(path / "ca.pem")
        self.client_ca = self.clients.write(path / "clients.pem")
        self.renew()

    def renew(self, name: str = "127.0.0.1") -> None:
        """Write a new certificate and key."""
        self.certificate, self.key = self.authority.issue(name, common_name=name).write(self.path, "server")

    def files(self, *, clients: bool = False, required: bool = True) -> TlsFiles:
        """What a server is given."""
        return TlsFiles(self.certificate, self.key, self.client_ca if clients else None, client_required=required)

    def client(self, *names: str, common_name: str = "peer") -> tuple[Path, Path]:
        """A client's certificate and key."""
        return self.clients.issue(*names, common_name=common_name).write(self.path, "client")


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Files to serve with."""
    return Folder(tmp_path)


class Connection(NamedTuple):
    """Both sides of one."""

    server: ssl.SSLObject
    client: ssl.SSLObject


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, *, session: ssl.SSLSession | None = None) -> Connection:
    """Connect both in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    accepting = server.wrap_bio(to_server, to_client, server_side=True)
    connecting = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1", session=session)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (connecting, accepting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done.add(side)
    return Connection(accepting, connecting)


def connecting(folder: Folder, names: tuple[str, ...] | None = None, **options) -> ssl.SSLContext:
    """A client that trusts the server, with a certificate for `names` if there are any."""
    context = ssl.create_default_context(cafile=folder.ca)
    if names is not None:
        context.load_cert_chain(*folder.client(*names, **options))
    return context
