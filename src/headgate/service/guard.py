"""Who may call a method: roles, scopes, permissions and policies, checked behind every wire.

    @rpc(guard=require(roles={"clerk", "manager"}))                 # one of the roles
    @rpc(guard=require(scopes={"orders:write"}))                    # all of the scopes
    @rpc(guard=require(permissions={"orders:refund:eu"}))           # all of the permissions
    @rpc(guard=require(when=owns_the_order))                        # what a function says
    @rpc(guard=PUBLIC)                                              # everybody, also the unknown

A permission is `resource:action:scope`; `*` in what a role grants stands for any one part, or for all that follow
at the end. Roles are told to the application: `App(..., roles={"manager": Role({"orders:*"}, parents={"clerk"})})`;
a role has what its parents have. A scope of the principal that reads like a permission counts as one.

    Unauthenticated
    └── no_credentials       nobody knows who calls
    PermissionDenied
    ├── missing_role         none of the roles; the fault names them
    ├── missing_scope
    ├── missing_permission
    └── policy_denied        a policy said no; its name is told
    InvalidArgument
    └── invalid_guard        a permission that is none, roles that are each other's parents, an unknown parent
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import InvalidArgument, PermissionDenied, Unauthenticated
from headgate.kit.controls.principal import Principal

if TYPE_CHECKING:
    from headgate.service.context import Context

Policy = Callable[["Context", Any], bool | Awaitable[bool]]
"""Whether the caller may make this request. Its `__name__` is what contract and faults call it."""

MOST_GRANTS: Final = 4_096
"""Combinations of roles whose permissions are kept."""

_PERMISSION: Final = re.compile(r"(\*|[a-z0-9_.-]+)(:(\*|[a-z0-9_.-]+)){0,2}")


@dataclass(frozen=True, slots=True)
class Guard:
    """What a caller must have: one of `roles`, all of `scopes`, all of `permissions`, the consent of all `policies`.

    With `public` nothing is asked. A guard that names nothing asks for an identity.
    """

    public: bool = False
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    policies: tuple[Policy, ...] = ()

    def document(self) -> dict[str, Any]:
        """The guard as its contract tells it."""
        if self.public:
            return {"public": True}
        named = {"roles": self.roles, "scopes": self.scopes, "permissions": self.permissions}
        found: dict[str, Any] = {name: sorted(values) for name, values in named.items() if values}
        if self.policies:
            found["policies"] = [name_of(policy) for policy in self.policies]
        return found


PUBLIC: Final = Guard(public=True)
"""Lets everybody in, whether or not they are known."""

AUTHENTICATED: Final = Guard()
"""Lets everybody in who is known."""


def require(
    *,
    roles: Iterable[str] = (),
    scopes: Iterable[str] = (),
    permissions: Iterable[str] = (),
    when: Policy | Iterable[Policy] = (),
) -> Guard:
    """A guard that asks for all of this. Raises InvalidArgument (`invalid_guard`)."""
    for permission in (wanted := several(permissions)):
        _check(permission)
    policies = (when,) if callable(when) else tuple(when)
    return Guard(False, several(roles), several(scopes), wanted, policies)


def several(names: Iterable[str]) -> frozenset[str]:
    """The names; one alone is not taken for its letters."""
    return frozenset((names,) if isinstance(names, str) else names)


@dataclass(frozen=True, slots=True)
class Role:
    """What a role grants, besides what the roles it stands on grant."""

    permissions: Iterable[str] = ()
    parents: Iterable[str] = ()
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "permissions", several(self.permissions))
        object.__setattr__(self, "parents", several(self.parents))


@dataclass(slots=True)
class Roles:
    """The roles of an application. Raises InvalidArgument (`invalid_guard`) for what makes no sense."""

    roles: Mapping[str, Role] = field(default_factory=dict)
    _above: dict[str, frozenset[str]] = field(init=False, default_factory=dict)
    _granted: dict[frozenset[str], tuple[tuple[str, ...], ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, role in self.roles.items():
            for permission in role.permissions:
                _check(permission)
            self._above[name] = self._ancestry(name, ())

    def _ancestry(self, name: str, path: tuple[str, ...]) -> frozenset[str]:
        """The role and all it stands on."""
        if name in path:
            raise _invalid(f"the roles {' -> '.join((*path, name))} are each other's parents")
        if name not in self.roles:
            raise _invalid(f"role '{path[-1]}' has the unknown parent '{name}'")
        parents = (self._ancestry(parent, (*path, name)) for parent in self.roles[name].parents)
        return frozenset((name,)).union(*parents)

    def of(self, principal: Principal) -> frozenset[str]:
        """The roles a principal has, with those they stand on."""
        return frozenset(principal.roles).union(*(self._above.get(role, ()) for role in principal.roles))

    def may(self, principal: Principal, permission: str) -> bool:
        """Whether a principal has a permission, from a role or as a scope."""
        wanted = permission.split(":")
        return any(_covers(granted, wanted) for granted in (*self._grants(principal.roles), *_split(principal.scopes)))

    def _grants(self, held: frozenset[str]) -> tuple[tuple[str, ...], ...]:
        known = held.intersection(self.roles)  # not what tokens say besides: it would be kept for ever
        found = self._granted.get(known)
        if found is None:
            every = frozenset().union(*(self._above[role] for role in known)) if known else frozenset()
            found = tuple(_split(sorted(grant for role in every for grant in self.roles[role].permissions)))
            if len(self._granted) >= MOST_GRANTS:
                self._granted.clear()
            self._granted[known] = found
        return found


async def check(guard: Guard, roles: Roles, context: "Context", request: Any) -> None:
    """Return when the guard lets the caller in. Raises Unauthenticated or PermissionDenied."""
    if guard.public:
        return
    principal = context.principal
    if not principal:
        raise Unauthenticated("this needs an identity", code="no_credentials", hint="send an API key or a token")
    if guard.roles and not guard.roles & roles.of(principal):
        raise _denied("role", "one of the roles", guard.roles)
    missing = {scope for scope in guard.scopes if not principal.may(scope)}
    if missing:
        raise _denied("scope", "the scope", missing)
    missing = {permission for permission in guard.permissions if not roles.may(principal, permission)}
    if missing:
        raise _denied("permission", "the permission", missing)
    for policy in guard.policies:
        allowed = policy(context, request)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if not allowed:
            raise PermissionDenied(f"the policy '{name_of(policy)}' does not allow this", code="policy_denied")


def name_of(policy: Policy) -> str:
    """What a policy is called in contracts and faults."""
    return getattr(policy, "__name__", type(policy).__name__)


def _denied(kind: str, what: str, names: Iterable[str]) -> PermissionDenied:
    listed = ", ".join(sorted(names))
    return PermissionDenied(
        f"this needs {what} {listed}", code=f"missing_{kind}", hint="ask for it, or call as another"
    )


def _split(permissions: Iterable[str]) -> list[tuple[str, ...]]:
    return [tuple(each.split(":")) for each in permissions]


def _covers(granted: tuple[str, ...], wanted: list[str]) -> bool:
    for position, part in enumerate(granted):
        if part == "*" and position == len(granted) - 1:
            return True
        if position >= len(wanted) or part not in ("*", wanted[position]):
            return False
    return len(granted) == len(wanted)


def _check(permission: str) -> None:
    if not _PERMISSION.fullmatch(permission):
        raise _invalid(f"'{permission[:200]}' is no permission; one is resource:action:scope, such as orders:read:own")


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, code="invalid_guard", hint="see headgate.service.guard")
