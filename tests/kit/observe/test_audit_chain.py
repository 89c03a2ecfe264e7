"""The chain of hashes over the audit log: whatever is done to a record shows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.observe.audit_chain import START, Chain, verify, verify_lines


def sealed(count: int, key: bytes = b"", chain: Chain | None = None) -> list[bytes]:
    """Lines of a chain."""
    chain = chain or Chain(key)
    return [chain.seal(b'{"event.action":"a%d"}' % number) + b"\n" for number in range(count)]


def test_a_record_stays_json():
    """A sealed record is the record, with its place and its hash at the end."""
    chain = Chain()
    record = json.loads(chain.seal(b'{"a":1}'))
    assert list(record) == ["a", "event.sequence", "headgate.audit.chain", "headgate.audit.previous", "event.hash"]
    assert (record["event.sequence"], record["headgate.audit.previous"]) == (1, START)
    assert json.loads(chain.seal(b'{"a":2}'))["headgate.audit.previous"] == record["event.hash"]


def test_an_untouched_log_is_intact(tmp_path):
    """A file as it was written verifies, and tells the last hash of its chain."""
    path = tmp_path / "audit.log"
    chain = Chain()
    path.write_bytes(b"".join(sealed(20, chain=chain)))
    verdict = verify(path)
    assert (verdict.intact, verdict.records) == (True, 20)
    assert verdict.chains == {chain.chain: (20, chain.previous)}
    assert verify_lines([]).intact


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines.__setitem__(4, lines[4].replace(b'"a4"', b'"a5"')), 5),
        (lambda lines: lines.pop(4), 5),
        (lambda lines: lines.insert(4, lines[3]), 5),
        (lambda lines: lines.insert(2, b'{"event.action":"forged"}\n'), 3),
        (lambda lines: lines.__setitem__(slice(3, 5), [lines[4], lines[3]]), 4),
        (lambda lines: lines.__setitem__(9, lines[9][:-5]), 10),
        (lambda lines: lines.__setitem__(6, lines[6].replace(b'sequence":7', b'sequence":70')), 7),
        (lambda lines: lines.__setitem__(0, sealed(1)[0]), 2),
    ],
)
def test_the_first_broken_line_is_told(change, line):
    """A record that was changed, removed, doubled, forged, moved, cut or exchanged is found at its place."""
    lines = sealed(10)
    change(lines)
    verdict = verify_lines(lines)
    assert (verdict.broken_line, verdict.records) == (line, line - 1)
    assert verdict.reason


@given(st.integers(0, 9), st.integers(0, 400), st.integers(0, 255))
def test_any_changed_byte_is_found(line, position, byte):
    """Whichever byte of whichever line is changed, that line or the next one is broken."""
    lines = sealed(10)
    changed = bytearray(lines[line])
    position %= len(changed)
    if changed[position] == byte:
        return
    changed[position] = byte
    lines[line] = bytes(changed)
    verdict = verify_lines(lines)
    assert verdict.broken_line in {line + 1, line + 2} or not verdict.chains


def test_a_key_keeps_others_from_sealing():
    """Records sealed with a key verify with that key alone."""
    lines = sealed(3, b"key")
    assert verify_lines(lines, key=b"key").intact
    assert verify_lines(lines).broken_line == 1
    assert verify_lines(sealed(3), key=b"key").broken_line == 1


def test_a_chain_goes_on():
    """A chain that resumes after its last line is one chain; after anything else a new one begins."""
    lines = sealed(3)
    again = Chain()
    again.resume(lines[-1][:-1])
    assert verify_lines(lines + sealed(3, chain=again)).records == 6
    again.resume(b'{"not":"sealed"}')
    assert (again.sequence, again.previous) == (0, START)


def test_files_that_follow_each_other():
    """After a rotation the next file begins in the middle of the chain, and can be held against the one before."""
    chain = Chain()
    first, second = sealed(3, chain=chain), sealed(3, chain=chain)
    last = verify_lines(first).chains[chain.chain][1]
    assert verify_lines(second).intact
    assert verify_lines(second, after=last).intact
    assert verify_lines(second[1:], after=last).broken_line == 1


def test_several_chains_in_one_stream():
    """Processes that write to one stream have a chain each; each is checked for itself."""
    one, two = sealed(4), sealed(4)
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    assert len(verify_lines(mixed, several=True).chains) == 2
    assert verify_lines(mixed, several=True).intact
    assert verify_lines(mixed).broken_line == 2
    del mixed[4]
    assert not verify_lines(mixed, several=True).intact
