"""The files of a TLS server: what is accepted, and what is said of what is not."""

import ssl

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.tls.files import TlsFiles, load


def test_what_fits_together(folder):
    """A certificate, its key and the clients' authorities make a context that asks clients for theirs."""
    context = load(folder.files(clients=True)).context(["http/1.1"])
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_clients_may_be_let_in_without(folder):
    """Where a client's certificate is not required it is still asked for, and verified when shown."""
    assert load(folder.files(clients=True, required=False)).context([]).verify_mode is ssl.CERT_OPTIONAL


def test_newer_versions_only(folder):
    """The oldest version spoken can be raised to 1.3, not lowered below 1.2."""
    files = TlsFiles(folder.certificate, folder.key, least="1.3")
    assert load(files).context([]).minimum_version is ssl.TLSVersion.TLSv1_3


def test_the_key_is_not_shown(folder):
    """What was loaded can be printed without giving the key away."""
    assert "PRIVATE" not in repr(load(folder.files()))


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("server.pem", None, "tls_file_unreadable"),
        ("server.key", None, "tls_file_unreadable"),
        ("clients.pem", None, "tls_file_unreadable"),
        ("server.pem", "no certificate", "tls_certificate_invalid"),
        ("server.key", "no key", "tls_certificate_invalid"),
        ("clients.pem", "no authority", "tls_client_ca_invalid"),
        ("clients.pem", "", "tls_client_ca_invalid"),
    ],
)
def test_files_that_cannot_be_used(folder, file, content, code):
    """A file that is missing or broken is a fault that names it."""
    path = folder.path / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidArgument) as caught:
        load(folder.files(clients=True))
    assert caught.value.code == code
    assert file in caught.value.message


def test_the_key_of_another_certificate(folder):
    """A key that does not belong to the certificate is refused."""
    folder.authority.issue("127.0.0.1").write(folder.path, "other")
    files = TlsFiles(folder.certificate, folder.path / "other.key")
    with pytest.raises(InvalidArgument) as caught:
        load(files)
    assert caught.value.code == "tls_certificate_invalid"


def test_files_that_change_while_they_are_read(folder, monkeypatch):
    """What is rewritten in the middle of reading is not used half old and half new."""
    stamps = iter([((1, 1, 1),), ((1, 1, 2),)])
    monkeypatch.setattr(TlsFiles, "stamp", lambda _: next(stamps))
    with pytest.raises(InvalidArgument) as caught:
        load(folder.files())
    assert caught.value.code == "tls_files_changing"
