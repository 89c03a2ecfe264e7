"""Guards: who may, and how they are told why not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument, PermissionDenied, Unauthenticated
from headgate.kit.controls.principal import Principal
from headgate.service import AUTHENTICATED, PUBLIC, Context, Role, require
from headgate.service.guard import MOST_GRANTS, Guard, Roles, check

WORD = st.text("ab0_.-", min_size=1, max_size=3)
PERMISSION = st.lists(WORD, min_size=1, max_size=3)


def somebody(*, roles=(), scopes=()):
    """A principal."""
    return Principal("somebody", "token", frozenset(scopes), roles=frozenset(roles))


@given(PERMISSION)
def test_a_permission_covers_itself_and_no_other(parts):
    """Without a wildcard only the same permission is covered."""
    wanted = ":".join(parts)
    assert Roles().may(somebody(scopes=[wanted]), wanted)
    assert not Roles().may(somebody(scopes=[wanted + "x"]), wanted)


@given(PERMISSION, st.data())
def test_a_wildcard_stands_for_one_part_or_all_that_follow(parts, data):
    """`*` in place of any part covers it, and at the end all that follow."""
    position = data.draw(st.integers(0, len(parts) - 1))
    starred = [*parts]
    starred[position] = "*"
    wanted = ":".join(parts)
    assert Roles().may(somebody(scopes=[":".join(starred)]), wanted)
    assert Roles().may(somebody(scopes=[":".join([*parts[:position], "*"])]), wanted)


@given(PERMISSION, PERMISSION)
def test_a_role_grants_what_its_permissions_say(granted, wanted):
    """A permission through a role is worth the same as one held as a scope."""
    text, asked = ":".join(granted), ":".join(wanted)
    roles = Roles({"clerk": Role({text})})
    assert roles.may(somebody(roles=["clerk"]), asked) == Roles().may(somebody(scopes=[text]), asked)


@given(st.lists(st.sampled_from("abcdef"), unique=True, min_size=2), st.data())
def test_a_role_has_what_its_parents_have(names, data):
    """However long the line of parents, what the first grants the last has, and not the other way round."""
    chain = {name: Role(parents=[above]) for above, name in pairwise(names)}
    roles = Roles({names[0]: Role({"orders:read"}), **chain})
    last = data.draw(st.sampled_from(names))
    assert roles.may(somebody(roles=[last]), "orders:read")
    assert names[0] in roles.of(somebody(roles=[last]))
    assert names[-1] not in roles.of(somebody(roles=[names[0]]))


def test_one_name_is_not_taken_for_its_letters():
    """A role, scope or permission that is not in a list is one all the same."""
    guard = require(roles="clerk", scopes="a:b", permissions="c:d")
    assert (guard.roles, guard.scopes, guard.permissions) == ({"clerk"}, {"a:b"}, {"c:d"})
    assert Role("orders:*", parents="clerk") == Role({"orders:*"}, {"clerk"})


@pytest.mark.parametrize(
    "roles",
    [
        {"a": Role(parents={"b"}), "b": Role(parents={"a"})},
        {"a": Role(parents={"a"})},
        {"a": Role(parents={"nobody"})},
        {"a": Role({"Orders Read"})},
        {"a": Role({"a:b:c:d"})},
    ],
)
def test_roles_that_make_no_sense_are_refused(roles):
    """Cycles, unknown parents and permissions that are none stop the start."""
    with pytest.raises(InvalidArgument) as raised:
        Roles(roles)
    assert raised.value.code == "invalid_guard"


def test_roles_of_tokens_do_not_fill_the_memory():
    """What is remembered of principals' roles is bounded, whatever their tokens say."""
    roles = Roles({f"r{number}": Role({"a:b"}) for number in range(13)})
    for number in range(2 * MOST_GRANTS):
        held = [f"r{bit}" for bit in range(13) if number >> bit & 1]
        roles.may(somebody(roles=[*held, f"unknown{number}"]), "a:b")
    assert len(roles._granted) <= MOST_GRANTS


def owns(context, request):
    """Whether the caller owns what it asks for."""
    return request == context.principal.id


async def owns_later(context, request):
    """The same, asked elsewhere."""
    return owns(context, request)


@pytest.mark.parametrize(
    ("guard", "principal", "code"),
    [
        (PUBLIC, None, ""),
        (AUTHENTICATED, None, "no_credentials"),
        (AUTHENTICATED, somebody(), ""),
        (require(roles={"clerk", "manager"}), somebody(roles=["manager"]), ""),
        (require(roles={"clerk"}), somebody(roles=["boss"]), ""),
        (require(roles={"clerk"}), somebody(), "missing_role"),
        (require(scopes={"a:b", "a:c"}), somebody(scopes=["a:*"]), ""),
        (require(scopes={"a:b", "a:c"}), somebody(scopes=["a:b"]), "missing_scope"),
        (require(permissions={"orders:refund:eu"}), somebody(roles=["boss"]), ""),
        (require(permissions={"orders:refund:eu"}), somebody(roles=["clerk"]), "missing_permission"),
        (require(when=owns), somebody(), ""),
        (require(when=[owns, owns_later]), somebody(), ""),
        (require(when=owns_later), Principal("other"), "policy_denied"),
    ],
)
async def test_a_guard_lets_in_whom_it_names(guard: Guard, principal, code, call):
    """Each part of a guard must be met, and the fault says which is not."""
    roles = Roles({"clerk": Role({"orders:read"}), "boss": Role({"orders:*:eu"}, {"clerk"})})
    made = call(principal) if principal else call()
    checking = check(guard, roles, Context(made), "somebody")
    if not code:
        await checking
        return
    with pytest.raises((PermissionDenied, Unauthenticated)) as raised:
        await checking
    assert raised.value.code == code


async def test_the_fault_names_what_is_missing_and_no_more(call):
    """A caller is told what it lacks, not what it has."""
    with pytest.raises(PermissionDenied, match=r"the scope a:c$"):
        await check(require(scopes={"a:b", "a:c"}), Roles(), Context(call(somebody(scopes=["a:b"]))), None)
