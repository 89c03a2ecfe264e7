"""A certificate authority for a test, which writes what it issues into a directory."""

from pathlib import Path

from headgate.testing import certificates


class Authority(certificates.Authority):
    """Issues certificates into `directory`; `file` is its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__("headgate test authority")
        self._directory = directory
        self.file = self.write(directory / "ca.pem")

    def issue(self, host: str) -> tuple[Path, Path]:
        """Return the files of a certificate for a DNS name or an IP address, and of its key."""
        return super().issue(host, common_name=host).write(self._directory, host)
