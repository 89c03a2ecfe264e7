"""Secrets are written and never read back."""

import logging
from pathlib import Path

import pytest
from sqlalchemy import text

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import InvalidArgument
from tests.controlplane.core.conftest import Pair
from tests.controlplane.core.documents import ME, TEAM


def _lines(pem: str) -> list[str]:
    """What is secret of a PEM: its lines of base64."""
    return [line for line in pem.splitlines() if line and not line.startswith("-----")]


def _content(directory: Path) -> bytes:
    """All bytes of the database: the file, its log and its index."""
    return b"".join(file.read_bytes() for file in directory.glob("headgate.db*"))


async def test_equal_content_changes_nothing(resources: Resources, pair: Pair, other_pair: Pair) -> None:
    """A secret written again with the same content makes no revision; other content does."""
    await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])
    again = await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])
    assert (again.revision, again.diffs[0].what) == (1, "unchanged")
    other = await resources.apply(ME, TEAM, [Change("put", "secret", "s", other_pair.tls())])
    assert (other.revision, other.diffs[0].what) == (2, "updated")


async def test_nothing_that_is_read_holds_the_content(
    resources: Resources, store: Store, pair: Pair, other_pair: Pair
) -> None:
    """Neither reads, lists, diffs nor history show anything but the summary."""
    first = await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])
    second = await resources.apply(ME, TEAM, [Change("put", "secret", "s", other_pair.tls())])
    read = [
        first,
        second,
        await resources.get(TEAM, "secret", "s"),
        await resources.list(TEAM, "secret"),
        await resources.revision(TEAM, 1),
        await resources.revision(TEAM, 2),
        await resources.restore(ME, TEAM, 1),
        await store.load_team(TEAM),
        await store.changes_since(TEAM, 0),
    ]
    for line in [*_lines(pair.key), *_lines(other_pair.key), *_lines(pair.certificate)]:
        assert line not in repr(read)
    assert "ciphertext" not in repr(read[:7])
    assert "shop.example" in repr(await resources.get(TEAM, "secret", "s"))


async def test_a_patch_of_a_secret_keeps_the_other_half(resources: Resources, store: Store, pair: Pair) -> None:
    """A patch is merged into the content; a half that no longer fits is refused."""
    await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])
    chain = pair.certificate + pair.certificate
    patch = {"tls_certificate": {"certificate_chain": chain}}
    await resources.apply(ME, TEAM, [Change("patch", "secret", "s", patch)])
    _, rows = await store.load_team(TEAM)
    opened = resources._secrets.open(TEAM, "s", rows[0].spec)
    assert opened == {"tls_certificate": {"certificate_chain": chain, "private_key": pair.key}}


async def test_a_refused_secret_is_not_echoed(resources: Resources, pair: Pair, other_pair: Pair) -> None:
    """A fault about a secret points at the field and holds nothing of it, also among other changes."""
    wrong = {"tls_certificate": {"certificate_chain": pair.certificate, "private_key": other_pair.key}}
    misspelt = {"tls_certificate": {**pair.tls()["tls_certificate"], "key": pair.key}}
    typed = {"tls_certificate": {"certificate_chain": pair.certificate, "private_key": [pair.key]}}
    for document in (wrong, misspelt, typed, {"trusted_ca": pair.key.replace("BEGIN", "BEGUN")}):
        with pytest.raises(InvalidArgument) as refused:
            await resources.apply(ME, TEAM, [Change("put", "secret", "s", document), Change("put", "cluster", "c", {})])
        fault = refused.value
        assert fault.violations[0].pointer.startswith("/0/")
        said = f"{fault} {fault.hint} {fault.internal} {fault.violations} {fault.__cause__}"
        for line in [*_lines(pair.key), *_lines(other_pair.key)]:
            assert line not in said


async def test_the_database_file_holds_nothing_in_the_clear(
    sqlite_store: Store, tmp_path: Path, box: SecretBox, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the database's files nor any log line holds a private key or a token."""
    caplog.set_level(logging.DEBUG)
    token = await Tokens(sqlite_store).first_start()
    resources = Resources(sqlite_store, preflight=None, secrets=box)
    await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])
    await resources.apply(ME, TEAM, [Change("delete", "secret", "s")])
    await resources.restore(ME, TEAM, 1)
    with pytest.raises(InvalidArgument):
        await resources.apply(ME, TEAM, [Change("put", "secret", "x", {"trusted_ca": pair.key})])
    async with sqlite_store.reading() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM secrets"))).scalar() == 1
    assert token
    kept = _content(tmp_path) + caplog.text.encode()
    for secret in [token, *_lines(pair.key)]:
        assert secret.encode() not in kept


async def test_secrets_of_two_teams_do_not_open_each_other(
    resources: Resources, store: Store, box: SecretBox, pair: Pair
) -> None:
    """The same content in two teams has two seals, and each opens its own only."""
    await Teams(store).create(ME, "other")
    for team in (TEAM, "other"):
        await resources.apply(ME, team, [Change("put", "secret", "s", pair.ca())])
    (_, [mine]), (_, [theirs]) = await store.load_team(TEAM), await store.load_team("other")
    assert mine.spec["ciphertext"] != theirs.spec["ciphertext"]
    assert box.open("other", "s", theirs.spec) == box.open(TEAM, "s", mine.spec)
