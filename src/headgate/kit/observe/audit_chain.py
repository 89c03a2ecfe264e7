"""A chain of hashes over the audit log: each record holds the hash of the one before it.

    verdict = verify(Path("audit.log"))
    verdict.broken_line        # None, or the number of the first line that is not what was written

A record that was changed, removed, added or moved breaks the chain at its place. What was cut off at the end
leaves no trace: keep the last hash elsewhere (`verdict.chains`). Somebody who may write the file can also
compute the hashes anew, unless they are made with a `key` that is not on that machine's disk (HMAC-SHA256).

The hash is the last member of a record, over all bytes before it. Records of several processes that write to
one stream form a chain each, told apart by `headgate.audit.chain`; in one file they form a single chain.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

START: Final = "0" * 64
"""What stands for the hash before the first record of a chain."""

_SEALED: Final = re.compile(
    rb'(?P<text>.*"event\.sequence":(?P<sequence>\d{1,18}),"headgate\.audit\.chain":"(?P<chain>[0-9a-f]{16})"'
    rb',"headgate\.audit\.previous":"(?P<previous>[0-9a-f]{64})"),"event\.hash":"(?P<hash>[0-9a-f]{64})"\}',
    re.DOTALL,
)


class Chain:
    """Seals records one after the other. `key` makes hashes that nobody else can."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key
        self._begin()

    @property
    def place(self) -> tuple[str, int, str]:
        """Where the chain stands; set it back when what was sealed since could not be written."""
        return self.chain, self.sequence, self.previous

    @place.setter
    def place(self, place: tuple[str, int, str]) -> None:
        self.chain, self.sequence, self.previous = place

    def _begin(self) -> None:
        self.chain = secrets.token_hex(8)
        self.sequence = 0
        self.previous = START

    def resume(self, last: bytes) -> None:
        """Go on after `last`, the last line there is; begin a new chain when that is none of a chain."""
        sealed = _SEALED.fullmatch(last)
        if sealed is None:
            self._begin()
            return
        self.chain = sealed["chain"].decode()
        self.sequence = int(sealed["sequence"])
        self.previous = sealed["hash"].decode()

    def seal(self, record: bytes) -> bytes:
        """`record`, a JSON object on one line, with its place in the chain and its hash."""
        self.sequence += 1
        place = f',"event.sequence":{self.sequence},"headgate.audit.chain":"{self.chain}"'
        text = b'%b%b,"headgate.audit.previous":"%b"' % (record[:-1], place.encode(), self.previous.encode())
        self.previous = _hash(text, self._key)
        return b'%b,"event.hash":"%b"}' % (text, self.previous.encode())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a chain. `chains` has the last sequence number and hash of each; `reason` says what is broken."""

    records: int
    broken_line: int | None = None
    reason: str = ""
    chains: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        """Whether every record is what was written, and follows the one before it."""
        return self.broken_line is None


def verify(path: Path, *, key: bytes = b"", after: str = "", several: bool = False) -> Verdict:
    """Check a file, line by line. `after` is the hash its first record must follow, from the file before it.

    Without `after`, a file may begin in the middle of a chain, as one does after the log was rotated. It holds one
    chain, unless it is the stream of `several` processes, or runs, that knew nothing of each other.
    """
    with path.open("rb") as lines:
        return verify_lines(lines, key=key, after=after, several=several)


def verify_lines(lines: Iterable[bytes], *, key: bytes = b"", after: str = "", several: bool = False) -> Verdict:
    """Check lines, each with its line break."""
    chains: dict[str, tuple[int, str]] = {}
    number = 0
    for number, line in enumerate(lines, 1):
        sealed = _SEALED.fullmatch(line[:-1]) if line.endswith(b"\n") else None
        if sealed is None:
            return Verdict(number - 1, number, "it is not a whole record with a hash", chains)
        found, expected = sealed["hash"].decode(), _hash(sealed["text"], key)
        if not hmac.compare_digest(found, expected):
            return Verdict(number - 1, number, "it was changed, or made with another key", chains)
        chain, sequence, previous = sealed["chain"].decode(), int(sealed["sequence"]), sealed["previous"].decode()
        if not several and number > 1 and chain not in chains:
            return Verdict(number - 1, number, "it belongs to another chain", chains)
        reason = _misplaced(chains.get(chain), sequence, previous, after if number == 1 else "")
        if reason:
            return Verdict(number - 1, number, reason, chains)
        chains[chain] = (sequence, found)
    return Verdict(number, None, "", chains)


def _misplaced(last: tuple[int, str] | None, sequence: int, previous: str, after: str) -> str:
    """Why a record cannot stand where it stands; "" when it can."""
    if last is None:
        if after and previous != after:
            return "it does not follow the record it should"
        return "it begins a chain with another number than 1" if (previous == START) != (sequence == 1) else ""
    if sequence != last[0] + 1:
        return f"record {last[0] + 1} of its chain should be here, it is record {sequence}"
    return "" if previous == last[1] else "the record before it is not the one it followed"


def _hash(text: bytes, key: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest() if key else hashlib.sha256(text).hexdigest()
