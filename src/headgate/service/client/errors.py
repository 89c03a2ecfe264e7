"""What goes wrong between a caller and a service, besides what the service answers with.

    Fault
    ├── Unavailable
    │   ├── NoInstances           no_instances       nobody offers the service, on this wire
    │   ├── Unreachable           unreachable        no connection: the call was not sent, and may be sent elsewhere
    │   ├── ConnectionLost        connection_lost    the connection broke; the call may have been carried out
    │   └── circuit_open          every instance's breaker holds calls back
    ├── DeadlineExceeded
    │   └── OutOfTime             call_timeout       the caller's time is up; the service was told
    ├── ResourceExhausted
    │   ├── connections_exhausted all connections to the instance are in use, for longer than a call waits
    │   └── answer_too_large      more bytes came than the policy takes
    ├── FailedPrecondition        extra_missing      the wire's library is not installed
    ├── InvalidArgument
    │   ├── invalid_call          arguments or options that are not those of the method; nothing was sent
    │   ├── invalid_client        no place to find the service, or more than one; no such wire or codec
    │   └── invalid_address       no address of its wire
    └── Internal
        └── BadAnswer             bad_answer         what came back is not what the contract says

The classes tell what happened here from the same codes told by others: a fault that came over a wire is of the kit's
class, or of one that the method declares.
"""

from headgate.kit.controls.faults import DeadlineExceeded, Internal, Unavailable


class NoInstances(Unavailable):
    """Nobody offers the service."""

    default_code = "no_instances"


class Unreachable(Unavailable):
    """No connection could be made: the call never reached anybody."""

    default_code = "unreachable"


class ConnectionLost(Unavailable):
    """The connection broke before the answer was whole."""

    default_code = "connection_lost"


class OutOfTime(DeadlineExceeded):
    """The time the caller allows is up."""

    default_code = "call_timeout"


class BadAnswer(Internal):
    """The answer does not keep the contract."""

    default_code = "bad_answer"
