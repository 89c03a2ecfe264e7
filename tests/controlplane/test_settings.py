"""The settings of the control plane: what they refuse, and the key they keep."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from headgate.controlplane.settings import ControlPlaneSettings, decode_key
from headgate.kit.controls.faults import InvalidArgument, Unavailable

KEY = base64.b64encode(bytes(range(32))).decode()


def test_defaults_are_local():
    """Out of the box everything listens on loopback and keeps its state in one directory."""
    settings = ControlPlaneSettings()
    assert {settings.api_host, settings.xds_host, settings.gateway_host} == {"127.0.0.1"}
    assert (settings.api_port, settings.xds_port, settings.gateway_port) == (8080, 18000, 10000)
    assert settings.database_url == "sqlite+aiosqlite:///.headgate/headgate.db"
    assert settings.secret_key_file == Path(".headgate/secret.key")
    assert settings.replica_id.endswith(f"-{os.getpid()}")


def test_state_moves_together(tmp_path):
    """The database and the key follow the state directory unless they are set."""
    settings = ControlPlaneSettings(state_dir=tmp_path)
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/headgate.db"
    assert settings.secret_key_file == tmp_path / "secret.key"


@pytest.mark.parametrize(
    "bad",
    [
        {"api_port": 65536},
        {"gateway_port": 0},
        {"database_url": "mysql://x"},
        {"secret_key": "short"},
        {"xds_tls_key": "key.pem"},
        {"xds_tls_certificate": "c.pem", "xds_tls_key": "key.pem"},
        {"replica_id": "a b"},
        {"preflight": "maybe"},
        {"shutdown_grace": -1},
        {"page_limit_max": 0},
    ],
)
def test_bounds(bad):
    """Values outside of their bounds, and a third of a TLS configuration, are refused."""
    with pytest.raises(ValidationError):
        ControlPlaneSettings(**bad)


def test_words_in_any_case():
    """A word of a closed set may be written in capitals."""
    assert ControlPlaneSettings(log_level="INFO", preflight="Off").log_level == "info"


def test_mutual_tls_is_on_when_it_is_configured():
    """With all three files set, Envoys are served over mutual TLS."""
    files = {"xds_tls_certificate": "c.pem", "xds_tls_key": "k.pem", "xds_tls_client_ca": "ca.pem"}
    assert ControlPlaneSettings(**files).xds_tls
    assert not ControlPlaneSettings().xds_tls


def test_a_given_key_is_used(tmp_path):
    """A key in the settings is the key, and no file is made."""
    settings = ControlPlaneSettings(secret_key=KEY, state_dir=tmp_path)
    assert settings.encryption_key() == bytes(range(32))
    assert list(tmp_path.iterdir()) == []


def test_the_key_file_is_made_once(tmp_path):
    """An absent key file is made for its owner only, and read again afterwards."""
    settings = ControlPlaneSettings(state_dir=tmp_path / "new" / "state")
    key = settings.encryption_key()
    file = settings.secret_key_file
    assert len(key) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert settings.encryption_key() == key
    assert list(file.parent.iterdir()) == [file]


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    """Whoever makes the file first decides the key of all."""
    settings = ControlPlaneSettings(state_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: settings.encryption_key(), range(32)))
    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]


def test_a_damaged_key_file_is_refused(tmp_path):
    """A file that holds no key is refused and left alone: overwriting it would lose the stored secrets."""
    file = tmp_path / "secret.key"
    file.write_text("sesame")
    with pytest.raises(InvalidArgument) as caught:
        ControlPlaneSettings(state_dir=tmp_path).encryption_key()
    assert (caught.value.code, file.read_text()) == ("invalid_secret_key", "sesame")
    assert "sesame" not in caught.value.message


def test_a_state_directory_that_cannot_be_made(tmp_path):
    """When the key can neither be read nor made the fault says which settings to change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"secret\.key") as caught:
        ControlPlaneSettings(state_dir=tmp_path / "file" / "state").encryption_key()
    assert caught.value.code == "state_unwritable"
    assert "HEADGATE_STATE_DIR" in caught.value.hint


@pytest.mark.parametrize("text", [KEY, KEY + "\n", base64.urlsafe_b64encode(b"\xff" * 32).decode()])
def test_keys_in_either_alphabet(text):
    """Both alphabets of base64 are read, with or without a line's end."""
    assert len(decode_key(text) or b"") == 32


@pytest.mark.parametrize("text", ["", "é", KEY[:-4], KEY + KEY, "not base64!"])
def test_what_is_no_key(text):
    """Anything but 32 bytes in base64 is no key."""
    assert decode_key(text) is None
