"""A call, whatever wire it came by, and what controls make of it.

A control is written once against a `Call` and takes part in the phases it overrides:

    identify   who calls, from where, under which id and trace
    admit      may this call run? Raise a Fault to refuse it, return an Answer to answer it here
    respond    add headers (HTTP) or metadata (gRPC) to whatever is answered, refusals included
    settle     it is over, one way or another: release, count, log, audit

`identify` and `admit` may return an awaitable of their verdict; everything else is synchronous. The shells
(`headgate.kit.asgi`, `headgate.kit.grpc`) run the phases in this order, controls in the order of the table
(`headgate.kit.table`), and `respond` and `settle` for every call, however it ended.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias

from headgate.kit.controls.faults import Fault
from headgate.kit.controls.principal import ANONYMOUS, Certificate, Principal

Protocol: TypeAlias = Literal["http", "websocket", "grpc", "grpc-web", "connect", "socket", "nats", "local"]
"""`grpc` is native gRPC; `grpc-web` and `connect` are RPCs which came by the HTTP port, `socket` those within a
WebSocket, `nats` those over NATS; `local` ones never left the process."""

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
MutableHeaders: TypeAlias = list[tuple[bytes, bytes]]

EVERY: Final[frozenset[Protocol]] = frozenset(
    ("http", "websocket", "grpc", "grpc-web", "connect", "socket", "nats", "local")
)
OVER_HTTP: Final[frozenset[Protocol]] = frozenset(("http", "websocket", "grpc-web", "connect"))


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a call belongs in a distributed trace (W3C Trace Context): lower-case hex ids, 32 and 16 digits."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header's value, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a call may take, in seconds, None for ever: until its first byte, between bytes, in all."""

    first_byte: float | None = None
    idle: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response that a control gives in place of the application, such as to a CORS preflight."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


Verdict: TypeAlias = Answer | None
MaybeVerdict: TypeAlias = Verdict | Awaitable[Verdict]


class Call:
    """One request, socket or RPC. Shells create it, controls read it and fill it in.

    Plain attributes with defaults on the class: making one must cost next to nothing.
    """

    protocol: Protocol
    method: str
    """The HTTP method, "POST" for gRPC and "GET" for a WebSocket."""
    path: str
    """The decoded path, for an RPC `/package.Service/Method`."""
    raw_headers: Headers
    """As they came, names in lower case. For gRPC the invocation metadata."""
    headers: Mapping[bytes, bytes]
    """The same by name; the last value of a repeated one."""
    peer: str
    """Address at the other end of the socket, without the port; "" when there is none."""
    started: float
    """Seconds on the shell's monotonic clock."""

    scheme: str = "http"
    """`http` or `https` (`ws` and `wss` count as these), as the client saw it once `identify` is done."""
    client: str = ""
    """Address of the client, told apart from trusted proxies; the peer until then."""
    request_id: str = ""
    trace: TraceContext | None = None
    certificate: Certificate | None = None
    """The client certificate the TLS layer verified."""
    principal: Principal = ANONYMOUS
    route: str = ""
    """Template of the route or full name of the RPC, never text that the caller chose; "" when none matched."""
    size: int | None = None
    """Announced bytes of the body; None when not announced."""
    budget: Budget = Budget()
    deadline: float | None = None
    """When the time of the whole call is up, on the clock of `started`."""

    # How it went; complete when `settle` runs.
    status: int = 0
    """HTTP status sent (for gRPC the one its code maps to); 0 when nothing was sent."""
    code: str = "OK"
    """Name of the canonical code."""
    fault: Fault | None = None
    """What was answered instead of the application's answer, or broke it off."""
    refused_by: str = ""
    """Name of the control that refused or answered the call; "" when the application did."""
    bytes_in: int = 0
    bytes_out: int = 0
    messages_out: int = 0
    """Chunks, events, frames or messages sent."""
    first_byte: float | None = None
    """When the first byte of the answer was sent, on the clock of `started`."""
    ended: float = 0.0
    complete: bool = False
    """Whether the answer was sent to its end."""

    state: dict[str, Any] | None = None
    """What controls keep for a later phase, by their name; made by `keep`."""

    def __init__(
        self,
        protocol: Protocol,
        method: str,
        path: str,
        raw_headers: Headers,
        peer: str,
        started: float,
    ) -> None:
        self.protocol = protocol
        self.method = method
        self.path = path
        self.raw_headers = raw_headers
        self.headers = dict(raw_headers)
        self.peer = self.client = peer
        self.started = started

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header, in the order they came."""
        return [value for key, value in self.raw_headers if key == name]

    def keep(self, name: str, value: Any) -> None:
        """Remember something for a later phase."""
        if self.state is None:
            self.state = {}
        self.state[name] = value

    def kept(self, name: str) -> Any:
        """What `keep` was given, else None."""
        return None if self.state is None else self.state.get(name)

    @property
    def key(self) -> str:
        """Whose budget this call is charged to: the principal's, else the client's address."""
        return f"principal:{self.principal.id}" if self.principal.id else f"client:{self.client}"

    @property
    def seconds(self) -> float:
        """How long it took, once it has ended."""
        return self.ended - self.started


class Control:
    """Base of all controls: takes part in no phase. Override those that matter; the others cost nothing."""

    name: ClassVar[str] = ""
    """Shown in logs, metrics and audit as what refused a call. Lower case, words joined by `_`."""
    protocols: ClassVar[frozenset[Protocol]] = EVERY

    def identify(self, call: Call) -> MaybeVerdict:
        """Fill in who calls. May refuse."""

    def admit(self, call: Call) -> MaybeVerdict:
        """Let the call run (None), answer it, or raise the Fault it is refused with."""

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Change the headers (or gRPC metadata) of the answer, in place. Must not raise."""

    def settle(self, call: Call) -> None:
        """The call is over. Runs for every call, also when an earlier phase was never reached."""


class Pipeline:
    """The enabled controls, compiled for the protocols of one shell: tuples of bound methods by protocol and phase."""

    def __init__(self, controls: Iterable[Control], protocols: frozenset[Protocol] = EVERY) -> None:
        everyone = tuple(controls)
        self._names: dict[Protocol, tuple[str, ...]] = {}
        self._enter: dict[Protocol, tuple[Callable[[Call], MaybeVerdict], ...]] = {}
        self.respond_hooks: dict[Protocol, tuple[Callable[[Call, MutableHeaders], None], ...]] = {}
        """By protocol, for shells which guard each of them."""
        self._settle: dict[Protocol, tuple[Callable[[Call], None], ...]] = {}
        for protocol in protocols:
            mine = [control for control in everyone if protocol in control.protocols]
            entering = [*_hooks(mine, "identify"), *_hooks(mine, "admit")]
            self._names[protocol] = tuple(name for name, _ in entering)
            self._enter[protocol] = tuple(hook for _, hook in entering)
            self.respond_hooks[protocol] = tuple(hook for _, hook in _hooks(mine, "respond"))
            self._settle[protocol] = tuple(hook for _, hook in _hooks(mine, "settle"))

    async def enter(self, call: Call) -> Verdict:
        """Identify and admit. Raises the Fault of the first control that refuses; `call` then names both."""
        position = 0
        try:
            for hook in self._enter[call.protocol]:
                verdict = hook(call)
                if verdict is not None:
                    if not isinstance(verdict, Answer):
                        verdict = await verdict
                    if verdict is not None:
                        call.refused_by = self._names[call.protocol][position]
                        return verdict
                position += 1
        except Fault as fault:
            call.fault, call.refused_by = fault, self._names[call.protocol][position]
            fault.refused = True
            raise
        return None

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Let every control see the headers of the answer."""
        for hook in self.respond_hooks[call.protocol]:
            hook(call, headers)

    def settle(self, call: Call, failed: Callable[[BaseException], None]) -> None:
        """End the call for every control; `failed` is told what one of them raised, the others still run."""
        for hook in self._settle[call.protocol]:
            try:
                hook(call)
            except Exception as error:  # noqa: BLE001 - one control's defect must not leak another's slot
                failed(error)


def _hooks(controls: Iterable[Control], phase: str) -> list[tuple[str, Callable[..., Any]]]:
    """Name and bound method of each control that takes part in the phase."""
    own = (each for each in controls if getattr(type(each), phase) is not getattr(Control, phase))
    return [(control.name, getattr(control, phase)) for control in own]
