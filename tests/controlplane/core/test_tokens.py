"""Tokens: shown once, kept as a hash, worthless after revocation or expiry."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.store.store import Store
from headgate.controlplane.tenancy.principal import Principal
from headgate.kit.controls.faults import Fault, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from tests.controlplane.core.documents import ME, TEAM


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Noon of the first of January 2030."""
    return Clock()


@pytest.fixture
async def tokens(store: Store, clock: Clock) -> Tokens:
    """The use cases on a store that has team `default`."""
    await Teams(store).create(ME, TEAM)
    return Tokens(store, clock=clock)


async def _create(tokens: Tokens, **fields: Any) -> tuple[Any, str]:
    wanted: dict[str, Any] = {"name": "ci", "team": TEAM, "scopes": ["clusters:read"], "expires_at": None, **fields}
    return await tokens.create(ME, **wanted)


async def test_a_token_is_known_again(tokens: Tokens) -> None:
    """The plaintext authenticates as the principal it was made for."""
    info, plaintext = await _create(tokens)
    assert re.fullmatch(r"hg_[A-Za-z0-9_-]{43}", plaintext)
    assert await tokens.authenticate(plaintext) == Principal(info.id, "ci", TEAM, frozenset({"clusters:read"}))
    assert (info.team, info.created_by, info.last_used_at) == (TEAM, "alice", None)


async def test_only_a_hash_is_kept(tokens: Tokens, store: Store) -> None:
    """No column of the database holds the plaintext, and no representation shows it or its hash."""
    info, plaintext = await _create(tokens)
    async with store.reading() as connection:
        rows = (await connection.execute(text("SELECT * FROM tokens"))).all()
        audit = (await connection.execute(text("SELECT * FROM audit"))).all()
    assert plaintext not in f"{rows} {audit} {info}"
    assert len(rows) == 1


@pytest.mark.parametrize(
    "presented", ["", "hg_", "hg_" + "a" * 43, "Bearer x", "hg_" + "é" * 43, "\0" * 46, "\ud800", "x" * 100_000]
)
async def test_what_was_never_made_is_refused(tokens: Tokens, presented: str) -> None:
    """Anything that is no token of ours is Unauthenticated, whatever it looks like."""
    await _create(tokens)
    with pytest.raises(Unauthenticated) as refused:
        await tokens.authenticate(presented)
    assert refused.value.code == "invalid_token"


async def test_an_expired_token_is_refused(tokens: Tokens, clock: Clock) -> None:
    """A token works up to its expiry and not after it."""
    _, plaintext = await _create(tokens, expires_at=clock.now + timedelta(hours=1))
    clock.now += timedelta(minutes=59)
    await tokens.authenticate(plaintext)
    clock.now += timedelta(minutes=1)
    with pytest.raises(Unauthenticated) as refused:
        await tokens.authenticate(plaintext)
    assert refused.value.code == "token_expired"


async def test_a_revoked_token_is_refused_at_once(tokens: Tokens, store: Store) -> None:
    """Revocation takes effect with the next request; revoking again changes nothing."""
    info, plaintext = await _create(tokens)
    await tokens.authenticate(plaintext)
    revoked = await tokens.revoke(ME, info.id)
    assert revoked.revoked_at is not None
    with pytest.raises(Unauthenticated) as refused:
        await tokens.authenticate(plaintext)
    assert refused.value.code == "token_revoked"
    assert (await tokens.revoke(ME, info.id)).revoked_at == revoked.revoked_at
    assert (await AuditLog(store).list(action="token.revoke")).total == 1
    for unknown in ("tok_x", ""):
        with pytest.raises(NotFound):
            await tokens.revoke(ME, unknown)


async def test_use_is_noted_once_a_minute(tokens: Tokens, clock: Clock) -> None:
    """The last use is written at most once a minute, so that reading costs no writing."""
    info, plaintext = await _create(tokens)
    for seconds, noted in ((0, 0), (30, 0), (60, 60), (90, 60)):
        clock.now = datetime(2030, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=seconds)
        await tokens.authenticate(plaintext)
        last = (await tokens.get(info.id)).last_used_at
        assert last == datetime(2030, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=noted)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "\nx"}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["*:read", "clusters:reed"]}, "/scopes/1"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "/expires_at"),
        ({"expires_at": datetime(2040, 1, 1)}, "/expires_at"),  # noqa: DTZ001
    ],
)
async def test_a_bad_token_is_not_made(tokens: Tokens, fields: dict[str, Any], pointer: str) -> None:
    """Name, scopes and expiry are checked, with a pointer to the one that is wrong."""
    with pytest.raises(InvalidArgument) as refused:
        await _create(tokens, **fields)
    assert [violation.pointer for violation in refused.value.violations] == [pointer]
    assert (await tokens.list()).total == 0


async def test_nobody_grants_more_than_they_hold(tokens: Tokens) -> None:
    """Over the network a token makes only tokens of its own scopes and team."""
    holder = Principal("tok_1", "ci", TEAM, frozenset({"tokens:write", "clusters:read"}))
    await _create(tokens, granted_by=holder)
    for fields in ({"scopes": ["*"]}, {"scopes": ["clusters:write"]}, {"team": None}, {"scopes": ["*:read"]}):
        with pytest.raises(PermissionDenied):
            await _create(tokens, granted_by=holder, **fields)
    root = Principal("tok_2", "root", None, frozenset({"*"}))
    await _create(tokens, granted_by=root, scopes=["*"], team=None)


async def test_a_token_needs_a_team_that_is_there(tokens: Tokens) -> None:
    """A token of an unknown team is not made."""
    with pytest.raises(NotFound):
        await _create(tokens, team="nobody")


async def test_tokens_are_listed_newest_first(tokens: Tokens, clock: Clock, store: Store) -> None:
    """A list goes page by page, narrows to a team, and may leave the revoked out."""
    await Teams(store).create(ME, "other")
    made = []
    for number in range(5):
        clock.now += timedelta(seconds=number % 2)
        made.append((await _create(tokens, name=f"t{number}", team=None if number == 4 else TEAM))[0])
    await tokens.revoke(ME, made[0].id)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await tokens.list(limit=2, cursor=cursor)
        seen += [info.id for info in page.items]
        if not (cursor := page.next_cursor):
            break
    assert page.total == 5
    assert sorted(seen) == sorted(info.id for info in made)
    assert (await tokens.list(TEAM)).total == 4
    assert (await tokens.list("other")).total == 0
    assert (await tokens.list(TEAM, include_revoked=False)).total == 3


async def test_the_first_start_makes_an_admin_once(store: Store) -> None:
    """On an empty database replicas that start together make one team and one admin token between them."""
    plaintexts = [made for made in await asyncio.gather(*(Tokens(store).first_start() for _ in range(4))) if made]
    assert len(plaintexts) == 1
    principal = await Tokens(store).authenticate(plaintexts[0])
    assert (principal.name, principal.team, principal.scopes) == ("admin", None, frozenset({"*"}))
    assert [team.name for team in await Teams(store).list()] == ["default"]
    assert await Tokens(store).first_start() is None


async def test_reading_goes_on_when_the_use_cannot_be_noted(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that takes no writes does not lock anybody out."""

    async def full(*_: object, **__: object) -> None:
        raise Fault("full")

    _, plaintext = await _create(tokens)
    monkeypatch.setattr("headgate.controlplane.core.tokens.touch_token", full)
    assert (await tokens.authenticate(plaintext)).name == "ci"
