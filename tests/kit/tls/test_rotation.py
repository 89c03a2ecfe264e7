"""Certificates that change while they are served."""

import asyncio
import ssl

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.tls.rotation import Certificates
from headgate.testing.certificates import Authority
from tests.kit.serve.conftest import until
from tests.kit.tls.conftest import connecting, handshake


def test_nothing_new(folder):
    """Looking at files that have not changed changes nothing."""
    certificates = Certificates(folder.files())
    before = certificates.loaded
    assert not certificates.refresh()
    assert certificates.loaded is before


def test_a_rotation(folder):
    """New files are used, and those who asked are told."""
    certificates, told = Certificates(folder.files()), []
    certificates.on_change(lambda: told.append(True))
    folder.renew()
    assert certificates.refresh()
    assert certificates.loaded.certificate == folder.certificate.read_bytes()
    assert told == [True]


def test_a_link_that_points_elsewhere(folder):
    """Files replaced by moving a link, as mounted secrets are, are a rotation."""
    for version in ("one", "two"):
        (folder.path / version).mkdir()
        folder.authority.issue("127.0.0.1").write(folder.path / version, "server")
    link = folder.path / "live"
    link.symlink_to("one")
    files = folder.files()
    files = type(files)(link / "server.pem", link / "server.key")
    certificates = Certificates(files)
    (folder.path / "next").symlink_to("two")
    (folder.path / "next").replace(link)
    assert certificates.refresh()
    assert certificates.loaded.certificate == (folder.path / "two/server.pem").read_bytes()


@pytest.mark.parametrize("broken", ["server.pem", "server.key"])
def test_a_broken_rotation(folder, logged, broken):
    """What cannot be used leaves the old in place, is logged once, and is used when it has been mended."""
    certificates = Certificates(folder.files())
    before = certificates.loaded
    folder.renew()
    good = (folder.path / broken).read_bytes()
    (folder.path / broken).write_text("broken")
    assert not certificates.refresh()
    assert not certificates.refresh()
    assert certificates.loaded is before
    assert len([line for line in logged() if line["level"] == "error"]) == 1
    (folder.path / broken).write_bytes(good)
    assert certificates.refresh()


def test_files_that_vanish(folder, logged):
    """Files that are gone for a while leave the old in place."""
    certificates = Certificates(folder.files())
    folder.key.unlink()
    assert not certificates.refresh()
    assert "server.key" in logged()[-1]["reason"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_end_with_their_authorities(folder, version):
    """A session from before a rotation is not resumed: its certificate is verified again, and may be refused."""
    certificates = Certificates(folder.files(clients=True))
    server = certificates.context([])
    client = connecting(folder, ("orders.example",))
    client.maximum_version = version
    before = handshake(server, client).client
    Authority("new clients").write(folder.client_ca)
    assert certificates.refresh()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client, session=before.session)


def test_files_that_were_never_right(tmp_path, folder):
    """Starting with files that cannot be used is a fault."""
    folder.key.write_text("no key")
    with pytest.raises(InvalidArgument):
        Certificates(folder.files())


async def test_watching(folder):
    """While somebody watches, a rotation is noticed without being told of it."""
    certificates = Certificates(folder.files(), every=0.02)
    before = certificates.loaded
    certificates.watch()
    certificates.watch()
    folder.renew()
    await until(lambda: certificates.loaded is not before)
    await certificates.unwatch()
    again = certificates.loaded
    folder.renew()
    await until(lambda: certificates.loaded is not again)
    await certificates.unwatch()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "certificates"]


async def test_not_watching(folder):
    """With an interval of 0 the files are looked at only when asked."""
    certificates = Certificates(folder.files(), every=0)
    certificates.watch()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "certificates"]
    await certificates.unwatch()
