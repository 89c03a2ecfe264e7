"""What an exception of a handler becomes: a status the caller may see, and a line in the log for the rest."""

from typing import Final

import structlog
from pydantic import ValidationError

from headgate.kit.asgi.problems import STATUS, defect, status_of
from headgate.kit.controls.call import Answer, Call
from headgate.kit.controls.codes import code_of_status
from headgate.kit.controls.faults import Fault, InvalidArgument, Unimplemented
from headgate.kit.controls.validation import violations_of
from headgate.kit.grpc.context import RpcContext
from headgate.kit.grpc.status import FAULTS

_log = structlog.get_logger("headgate.grpc")
_SERVER_ERROR: Final = 500
_DEFECTS: Final = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS"))


def conclude(context: RpcContext, error: Exception) -> None:
    """Make `error`, raised instead of a response, the outcome of the call."""
    call = context.call
    if context.kind == "UNIMPLEMENTED" and isinstance(error, NotImplementedError):
        return  # generated code's way to say that nobody wrote this method
    if context.aborted is not None:
        if error is not context.aborted:
            _log.warning("raised after abort", code=context.kind, exc_info=error, **_where(call))
    elif isinstance(error, Fault):
        tell_fault(call, error)
        context.fail(error)
    elif isinstance(error, ValidationError):
        context.fail(_invalid(error))
    elif context.kind != "OK":
        # The handler chose a status and then raised: as in grpc.aio the status holds. The text stays here.
        _log.error("call failed", code=context.kind, exc_info=error, **_where(call))
    else:
        _log.error("call failed", code="internal", exc_info=error, **_where(call))
        context.fail(defect())


def tell_fault(call: Call, fault: Fault) -> None:
    """Log a defect with its traceback, other trouble of ours as a warning, and what a refusal does not tell its caller.

    That a method is not there is the caller's mistake, as a path that is not: the access log has it.
    """
    shown = {"code": fault.code, "internal": fault.internal, **_where(call)}
    if call.refused_by:
        if fault.internal:
            _log.info("call refused", by=call.refused_by, **shown)
    elif fault.kind in _DEFECTS:
        _log.error("call failed", reason=fault.message, exc_info=fault, **shown)
    elif fault.kind != "UNIMPLEMENTED" and status_of(fault) >= _SERVER_ERROR:
        _log.warning("call failed", reason=fault.message, **shown)
    elif fault.internal:
        _log.info("call refused", reason=fault.message, **shown)


def tell_defect(call: Call, error: BaseException) -> None:
    """Log what a control raised while the call was settled."""
    _log.error("settling failed", exc_info=error, **_where(call))


def status_of_kind(kind: str) -> int:
    """The HTTP status a code maps to."""
    return 200 if kind == "OK" else STATUS[kind]


def refuse_answer(answer: Answer) -> None:
    """Raise the fault nearest to a control's answer: RPCs know no others."""
    made = FAULTS.get(code_of_status(answer.status), Unimplemented)
    raise made("answered without the method", code="answered_by_control")


def _where(call: Call) -> dict[str, str]:
    return {"method": call.route, "request_id": call.request_id}


def _invalid(error: ValidationError) -> Fault:
    found = violations_of(error)
    first = f"{found[0].pointer} {found[0].message}".strip() if found else "the request is not valid"
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return InvalidArgument(first + more, violations=found)
