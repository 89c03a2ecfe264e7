"""What a principal may do."""

import pytest

from headgate.controlplane.tenancy.principal import RESOURCES, SCOPES, Principal
from headgate.kit.controls.faults import NotFound, PermissionDenied


def _principal(*scopes: str, team: str | None = None) -> Principal:
    return Principal("tok_1", "ci", team, frozenset(scopes))


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("access", ["read", "write"])
def test_a_scope_allows_what_it_says(resource: str, access: str) -> None:
    """A scope, its wildcard and '*' allow an act; every other scope does not."""
    wanted = f"{resource}:{access}"
    for scope in SCOPES:
        assert _principal(scope).allows(wanted) == (scope in {wanted, f"*:{access}", "*"})


def test_a_foreign_team_does_not_exist() -> None:
    """Another team is NotFound, not forbidden: its existence is nobody else's business."""
    with pytest.raises(NotFound) as refused:
        _principal("*", team="red").require("clusters:read", "blue")
    assert refused.value.code == "unknown_team"
    _principal("*", team="red").require("clusters:read", "red")
    _principal("*").require("clusters:read", "blue")


def test_a_missing_scope_is_named() -> None:
    """A known team without the scope is PermissionDenied, and the answer says what is missing."""
    with pytest.raises(PermissionDenied) as refused:
        _principal("clusters:read", team="red").require("clusters:write", "red")
    assert refused.value.code == "missing_scope"
    assert "clusters:write" in refused.value.message


def test_a_teams_token_stays_in_its_team() -> None:
    """What belongs to no team is beyond a team's token."""
    with pytest.raises(PermissionDenied) as refused:
        _principal("*", team="red").require("teams:write")
    assert refused.value.code == "team_token"
    _principal("teams:write").require("teams:write")


@pytest.mark.parametrize(
    ("holds", "grants", "allowed"),
    [
        (["*"], ["*"], True),
        (["*:read", "*:write"], ["*"], True),
        (["*:read"], ["*"], False),
        (["*:read"], ["clusters:read", "*:read"], True),
        (["clusters:read"], ["*:read"], False),
        (["clusters:read"], ["clusters:write"], False),
    ],
)
def test_a_grant_never_exceeds_its_holder(holds: list[str], grants: list[str], allowed: bool) -> None:
    """Scopes can be given away only by who has them."""
    holder = _principal(*holds)
    if allowed:
        holder.require_grant(frozenset(grants), "red")
        return
    with pytest.raises(PermissionDenied) as refused:
        holder.require_grant(frozenset(grants), "red")
    assert refused.value.code == "grant_exceeds_holder"
