"""Secrets at rest: sealed before the store sees them, told apart by fingerprint, shown as a summary."""

import hmac
import os
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headgate.controlplane.core.certificates import summarise
from headgate.controlplane.model.rows import Document, Row
from headgate.kit.controls.faults import DataLoss, InvalidArgument

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class SecretBox:
    """Seals secrets with AES-256-GCM. `key` is 32 bytes; what is derived from it seals and fingerprints.

    A sealed secret is bound to its team and name: moved to another row, it does not open.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InvalidArgument(f"The secret key must have {KEY_BYTES} bytes; it has {len(key)}.")
        self._cipher = AESGCM(_derive(key, b"headgate secret encryption"))
        self._mark = _derive(key, b"headgate secret fingerprint")

    def seal(self, team: str, name: str, document: Document) -> dict[str, Any]:
        """Return {"ciphertext", "fingerprint", "summary"} of a validated Secret document.

        Equal content has an equal fingerprint. Raises InvalidArgument with a pointer when a PEM does not parse
        or key and certificate do not match.
        """
        summary = summarise(document)
        content = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, _binding(team, name))
        return {
            "ciphertext": b64encode(sealed).decode(),
            "fingerprint": hmac.digest(self._mark, content, sha256).hex(),
            "summary": summary,
        }

    def open(self, team: str, name: str, spec: Document) -> Document:
        """Return the Secret document of a sealed spec.

        Raises DataLoss (`secret_unreadable`) when the key is not the one it was sealed with, or it is damaged.
        """
        try:
            sealed = b64decode(spec["ciphertext"], validate=True)
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _binding(team, name))
        except (KeyError, ValueError, InvalidTag):
            raise DataLoss(
                f"Secret '{name}' of team '{team}' cannot be read with this key.",
                code="secret_unreadable",
                hint="Start with the key it was stored with, or write the secret again.",
            ) from None
        document: Document = orjson.loads(content)
        return document

    def reveal(self, team: str, row: Row) -> Row:
        """Return the row with its spec in the clear: a secret is opened, any other row is returned as it is."""
        return replace(row, spec=self.open(team, row.name, row.spec)) if row.kind == "secret" else row


def redact(spec: Document) -> dict[str, Any]:
    """What may be shown of a sealed spec: its summary and fingerprint."""
    return {**spec["summary"], "fingerprint": spec["fingerprint"]}


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(key)


def _binding(team: str, name: str) -> bytes:
    return f"{team}/{name}".encode()
