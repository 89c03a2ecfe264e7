"""API tokens: made, listed, revoked, and recognised."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from headgate.controlplane.core.changes import Actor, Page
from headgate.controlplane.core.paging import check_limit, make_cursor, read_cursor
from headgate.controlplane.store.audit import AuditEntry
from headgate.controlplane.store.store import Store
from headgate.controlplane.store.tokens import (
    TokenRecord,
    find_token,
    insert_first,
    insert_token,
    revoke_token,
    token_page,
    touch_token,
)
from headgate.controlplane.tenancy.credentials import digest, is_token, mint, mint_id, same
from headgate.controlplane.tenancy.principal import SCOPES, Principal
from headgate.kit.controls.faults import (
    Aborted,
    Fault,
    InvalidArgument,
    NotFound,
    Unauthenticated,
    Violation,
)
from headgate.kit.controls.validation import did_you_mean

FIRST_TEAM: Final = "default"
FIRST_NAME: Final = "admin"
_NOTE_USE_EVERY: Final = timedelta(minutes=1)
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._@/-]{0,98}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token without its secret. `team` None acts on every team."""

    id: str
    name: str
    team: str | None
    scopes: Sequence[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class Tokens:
    """The use cases on tokens. `clock` tells the time, in UTC."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self,
        actor: Actor,
        *,
        name: str,
        team: str | None,
        scopes: Sequence[str],
        expires_at: datetime | None,
        granted_by: Principal | None = None,
    ) -> tuple[TokenInfo, str]:
        """Return the new token and its plaintext, which cannot be had again.

        `granted_by` is whoever asks over the network: they cannot grant more than they hold. Raises
        InvalidArgument (`invalid_token_request`) with pointers, PermissionDenied (`grant_exceeds_holder`), NotFound
        (`unknown_team`).
        """
        now = self._clock()
        _check(name, scopes, expires_at, now)
        if granted_by is not None:
            granted_by.require_grant(frozenset(scopes), team)
        plaintext = mint()
        record = _record(plaintext, actor, now, name=name, team=team, scopes=sorted(set(scopes)), expires_at=expires_at)
        entry = _entry(actor, "token.create", record, now)
        await insert_token(self._store, record, entry)
        return _info(record), plaintext

    async def list(
        self, team: str | None = None, *, include_revoked: bool = True, limit: int = 50, cursor: str = ""
    ) -> Page[TokenInfo]:
        """Return the tokens of a team, or all, newest first."""
        parts = read_cursor(cursor, str, str)
        records, total = await token_page(
            self._store,
            team=team,
            include_revoked=include_revoked,
            limit=check_limit(limit) + 1,
            after=(datetime.fromisoformat(parts[0]), parts[1]) if parts else None,
        )
        items = [_info(record) for record in records[:limit]]
        more = len(records) > limit
        return Page(items, total, make_cursor(items[-1].created_at.isoformat(), items[-1].id) if more else "")

    async def get(self, token_id: str) -> TokenInfo:
        """Return one token. Raises NotFound."""
        record = await find_token(self._store, token_id=token_id) if token_id else None
        if record is None:
            raise _no_token(token_id)
        return _info(record)

    async def revoke(self, actor: Actor, token_id: str) -> TokenInfo:
        """Make the token worthless from now on; revoking again changes nothing. Raises NotFound."""
        known = await find_token(self._store, token_id=token_id) if token_id else None
        if known is None:
            raise _no_token(token_id)
        entry = _entry(actor, "token.revoke", known, self._clock())
        return _info(await revoke_token(self._store, token_id, entry) or known)

    async def authenticate(self, presented: str) -> Principal:
        """Return whose token this is.

        Raises Unauthenticated: `invalid_token` for one that was never made, `token_revoked`, `token_expired`.
        """
        # Found by the hash of 256 random bits: how long the search takes says nothing about any token.
        hashed = digest(presented) if is_token(presented) else ""
        record = await find_token(self._store, hash_=hashed) if hashed else None
        if record is None or not same(record.hash, hashed):
            raise _unauthenticated("The token is not known here.", "invalid_token")
        now = self._clock()
        if record.revoked_at is not None:
            raise _unauthenticated(f"Token '{record.name}' is revoked.", "token_revoked")
        if record.expires_at is not None and record.expires_at <= now:
            raise _unauthenticated(f"Token '{record.name}' has expired.", "token_expired")
        if record.last_used_at is None or now - record.last_used_at >= _NOTE_USE_EVERY:
            await self._note_use(record.id, now)
        return Principal(record.id, record.name, record.team, frozenset(record.scopes))

    async def _note_use(self, token_id: str, now: datetime) -> None:
        try:
            await touch_token(self._store, token_id, now, unless_within=_NOTE_USE_EVERY)
        except Fault:
            # A full disk must not lock anybody out.
            return

    async def first_start(self) -> str | None:
        """On an empty database make team `default` and an admin token, and return its plaintext; else None."""
        now, plaintext = self._clock(), mint()
        actor = Actor("headgate", "start")
        record = _record(plaintext, actor, now, name=FIRST_NAME, scopes=["*"])
        try:
            made = await insert_first(self._store, FIRST_TEAM, record, _entry(actor, "first_start", record, now))
        except Aborted:
            return None
        return plaintext if made else None


def _check(name: str, scopes: Sequence[str], expires_at: datetime | None, now: datetime) -> None:
    found: list[Violation] = []
    if not _NAME.fullmatch(name):
        found.append(Violation("/name", "must be 1 to 100 letters, digits, spaces and '._@/-'"))
    if not scopes:
        found.append(Violation("/scopes", "must name at least one scope", "Such as clusters:read, or *:read."))
    for index, scope in enumerate(scopes):
        if scope not in SCOPES:
            hint = did_you_mean(scope, sorted(SCOPES))
            found.append(Violation(f"/scopes/{index}", f"'{scope[:60]}' is not a scope", hint))
    if expires_at is not None and expires_at.tzinfo is None:
        found.append(Violation("/expires_at", "must say its time zone", "Such as 2030-01-31T12:00:00Z."))
    elif expires_at is not None and expires_at <= now:
        found.append(Violation("/expires_at", "must be in the future"))
    if found:
        raise InvalidArgument(
            f"The token cannot be made: {found[0].pointer} {found[0].message}.",
            code="invalid_token_request",
            hint=found[0].hint,
            violations=found,
        )


def _record(
    plaintext: str,
    actor: Actor,
    now: datetime,
    *,
    name: str,
    scopes: Sequence[str],
    team: str | None = None,
    expires_at: datetime | None = None,
) -> TokenRecord:
    return TokenRecord(mint_id(), name, team, digest(plaintext), scopes, now, actor.name, expires_at)


def _entry(actor: Actor, action: str, token: TokenRecord, now: datetime) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor=actor.name,
        surface=actor.surface,
        action=action,
        team=token.team or "",
        target=f"token/{token.id}",
        token_id=actor.token_id,
        request_id=actor.request_id,
        detail={"name": token.name, "scopes": list(token.scopes)},
    )


def _info(record: TokenRecord) -> TokenInfo:
    return TokenInfo(
        id=record.id,
        name=record.name,
        team=record.team,
        scopes=tuple(record.scopes),
        created_at=record.created_at,
        created_by=record.created_by,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        last_used_at=record.last_used_at,
    )


def _no_token(token_id: str) -> NotFound:
    return NotFound(f"There is no token '{token_id}'.")


def _unauthenticated(message: str, code: str) -> Unauthenticated:
    return Unauthenticated(message, code=code, hint="Send a valid token: 'Authorization: Bearer hg_...'.")
