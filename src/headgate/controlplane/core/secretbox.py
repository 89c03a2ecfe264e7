"""Secrets at rest: sealed before the store sees them, told apart by fingerprint, shown as a summary."""

from headgate.controlplane.model.rows import Document, Row


class SecretBox:
    """Seals secrets with AES-256-GCM. `key` is 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, team: str, name: str, document: Document) -> Document:
        """Return {"ciphertext", "fingerprint", "summary"} of a validated Secret document.

        Raises InvalidArgument with a pointer when a PEM does not parse or key and certificate do not match.
        """
        raise NotImplementedError

    def open(self, team: str, name: str, spec: Document) -> Document:
        """Return the Secret document of a sealed spec. Raises DataLoss when the key or the bytes are wrong."""
        raise NotImplementedError

    def reveal(self, team: str, row: Row) -> Row:
        """Return the row with its spec in the clear: a secret is opened, any other row is returned as it is."""
        raise NotImplementedError
