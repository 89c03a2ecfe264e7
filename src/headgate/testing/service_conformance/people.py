"""Who calls the reference service, and what they may.

The header `x-conformance-principal` says who, and proves nothing: none of this belongs where others can reach it.
"""

from typing import Any, Final

from headgate.kit.controls.call import Call
from headgate.kit.controls.principal import Principal
from headgate.service.context import Context
from headgate.service.guard import Role

WHO: Final = "x-conformance-principal"

ROLES: Final = {
    "manager": Role({"orders:*"}, parents={"clerk"}),
    "clerk": Role({"orders:read:*"}),
}
PRINCIPALS: Final = {
    "ada": Principal("ada", roles=frozenset({"manager"}), scopes=frozenset({"stock:read"})),
    "bob": Principal("bob", roles=frozenset({"clerk"})),
    "eve": Principal("eve", roles=frozenset({"stranger"})),
}


class Names:
    """Believes whoever says a name. For conformance alone."""

    name, challenge = "names", ""
    header = WHO.encode()

    def __call__(self, call: Call) -> Principal | None:
        """The principal of that name."""
        value = call.headers.get(self.header)
        return None if value is None else PRINCIPALS.get(value.decode("latin-1"))


def owns_it(context: Context, request: Any) -> bool:
    """Whether the caller asks for what is theirs."""
    return bool(request.owner == context.principal.id)
