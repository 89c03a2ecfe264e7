"""Who calls: authenticators asked in order, and what becomes of credentials that prove nothing.

    Identity([ApiKeys.parse("ci[orders:read]=..."), MtlsAuthenticator()], unasked=["/health"])

An authenticator looks at a call and returns the principal, None when nothing of its own was presented, or
raises Unauthenticated when it was and is wrong. It may be a coroutine function. One of your own:

    class Tokens:
        name, challenge = "tokens", "Bearer"

        async def __call__(self, call: Call) -> Principal | None:
            token = bearer_token(call)
            return await self.find(token) if token and token.startswith("tk_") else None

Wrong credentials are refused in the admit phase, not when they are seen: limits which stand before this control
in the table then count guesses against the client's address, and probes answer whatever came with them.

    Unauthenticated
    ├── ambiguous_credentials   more than one of them, or one of them twice
    └── invalid_credentials     no authenticator knows what was presented

Credentials stay where they are: nothing of their text gets into principals, faults, logs or answers.
Source: RFC 9110, section 11; RFC 6750.
"""

from collections.abc import Awaitable, Iterable
from typing import ClassVar, Final, Protocol

from headgate.kit.controls.access import GRPC_HEALTH, Paths
from headgate.kit.controls.call import OVER_HTTP, Call, Control, MaybeVerdict, MutableHeaders
from headgate.kit.controls.faults import Fault, Unauthenticated
from headgate.kit.controls.principal import Principal

AUTHORIZATION: Final = b"authorization"
CHALLENGE: Final = b"www-authenticate"

Found = Principal | None | Awaitable[Principal | None]


class Authenticator(Protocol):
    """One way of proving who calls.

    `challenge` is what `WWW-Authenticate` says; its first word is the scheme of the `Authorization` header that
    this authenticator reads, in whatever case, unless an attribute `schemes` names others (in lower case). An
    attribute `header` (bytes, lower case) names another request header it reads; `hint` tells callers without
    credentials what to send.
    """

    @property
    def name(self) -> str:
        """Shown where the authenticator is spoken of."""

    @property
    def challenge(self) -> str:
        """The challenge, such as `Bearer realm="shop"`; "" has none."""

    def __call__(self, call: Call) -> Found:
        """Who calls, None when nothing of this kind was presented. Raises Unauthenticated."""


def bearer_token(call: Call) -> str | None:
    """The token in `Authorization: Bearer TOKEN`, None when there is none."""
    value = call.headers.get(AUTHORIZATION)
    if value is None or value[:7].lower() != b"bearer ":
        return None
    return value[7:].strip().decode("latin-1") or None


class Identity(Control):
    """Finds the principal of each call.

    Credentials sent to `unasked` paths (probes; gRPC's health service always) are not looked at. At `public`
    paths right ones make a principal and wrong ones are as good as none; one that ends in `/` means all below.
    """

    name: ClassVar[str] = "identity"

    def __init__(
        self,
        authenticators: Iterable[Authenticator],
        *,
        unasked: Iterable[str] = (),
        public: Iterable[str] = (),
    ) -> None:
        self.authenticators = tuple(authenticators)
        self._steps = tuple(
            (each, self.authenticators[position:]) for position, each in enumerate(self.authenticators, 1)
        )
        self._unasked = GRPC_HEALTH | frozenset(unasked)
        self._public = Paths(public)
        self._schemes = frozenset(scheme for each in self.authenticators for scheme in _schemes(each))
        self._own: tuple[bytes, ...] = tuple(
            dict.fromkeys(header for each in self.authenticators if (header := getattr(each, "header", b"")))
        )
        self._several = len(self._own) > 1
        self._challenges = _challenges(self.authenticators, "")
        self._rejections = _challenges(self.authenticators, 'error="invalid_token"')

    @property
    def hint(self) -> str:
        """What a caller without credentials should send."""
        return _either(getattr(each, "hint", "") for each in self.authenticators)

    def identify(self, call: Call) -> MaybeVerdict:
        """Fill in `call.principal`; keep the fault of wrong credentials for later."""
        if call.path in self._unasked:
            return None
        headers = call.headers
        try:
            if AUTHORIZATION in headers or len(headers) != len(call.raw_headers) or self._several:
                self._refuse_ambiguous(call)
            for authenticator, rest in self._steps:
                found = authenticator(call)
                if found is None:
                    continue
                if not isinstance(found, Principal):
                    return self._resume(call, found, rest)
                call.principal = found
                return None
            self._refuse_unclaimed(call)
        except Fault as fault:
            call.keep(self.name, fault)
        return None

    async def _resume(self, call: Call, pending: Awaitable[Principal | None], rest: tuple[Authenticator, ...]) -> None:
        try:
            principal = await pending
            for authenticator in rest:
                if principal is not None:
                    break
                found = authenticator(call)
                principal = found if found is None or isinstance(found, Principal) else await found
            if principal is None:
                self._refuse_unclaimed(call)
            else:
                call.principal = principal
        except Fault as fault:
            call.keep(self.name, fault)

    def admit(self, call: Call) -> None:
        """Refuse wrong credentials, unless nobody asked for any."""
        if call.state is not None:
            fault = call.state.get(self.name)
            if fault is not None and not self._public.opens(call.method, call.path):
                raise fault

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Say with `WWW-Authenticate` what would be accepted, when the answer is 401."""
        fault = call.fault
        if fault is None or fault.kind != "UNAUTHENTICATED" or call.protocol not in OVER_HTTP:
            return
        if any(name == CHALLENGE for name, _ in headers):
            if not call.refused_by:
                return
            headers[:] = [pair for pair in headers if pair[0] != CHALLENGE]
        headers.extend(self._challenges if fault.code == "no_credentials" else self._rejections)

    def _refuse_ambiguous(self, call: Call) -> None:
        """Raise when there is more than one credential of ours; an application's own `Authorization` is none."""
        headers = call.headers
        if len(headers) == len(call.raw_headers):
            seen = AUTHORIZATION in headers
            for name in self._own:
                if name in headers:
                    if seen:
                        break
                    seen = True
            else:
                return
        count = sum(len(call.values(name)) for name in self._own)
        values = call.values(AUTHORIZATION)
        if any(self._is_ours(value) for value in values):
            count += len(values)
        if count > 1:
            raise _ambiguous()

    def _is_ours(self, authorization: bytes) -> bool:
        return authorization.partition(b" ")[0].lower() in self._schemes

    def _refuse_unclaimed(self, call: Call) -> None:
        """An application may read `Authorization` itself: only the schemes of our authenticators are ours."""
        value = call.headers.get(AUTHORIZATION)
        if value is not None and self._is_ours(value):
            raise Unauthenticated(
                "the credentials are not known here", code="invalid_credentials", hint=self.hint or _HINT
            )


_HINT: Final = "send valid credentials"


def _ambiguous() -> Unauthenticated:
    return Unauthenticated(
        "more than one credential was presented",
        code="ambiguous_credentials",
        hint="send one, in one header",
    )


def _schemes(authenticator: Authenticator) -> Iterable[bytes]:
    """Schemes of the `Authorization` header that are this authenticator's."""
    named: Iterable[str] = getattr(authenticator, "schemes", authenticator.challenge.split()[:1])
    return (scheme.lower().encode() for scheme in named)


def _either(hints: Iterable[str]) -> str:
    return ", or ".join(dict.fromkeys(each for each in hints if each))


def _challenges(authenticators: Iterable[Authenticator], error: str) -> tuple[tuple[bytes, bytes], ...]:
    """One header for each challenge; a bearer's says what was wrong (RFC 6750, section 3)."""
    found = dict.fromkeys(each.challenge.strip() for each in authenticators if each.challenge.strip())
    return tuple((CHALLENGE, _with(challenge, error).encode("latin-1")) for challenge in found or ("Bearer",))


def _with(challenge: str, error: str) -> str:
    scheme, _, parameters = challenge.partition(" ")
    if not error or scheme.lower() != "bearer":
        return challenge
    return f"{challenge}, {error}" if parameters else f"{challenge} {error}"
