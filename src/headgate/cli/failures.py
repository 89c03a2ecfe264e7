"""How a command fails: a message, what it is about, what to do next, and an exit code.

0  done
1  failed
2  wrong usage (click's own)
3  the API refused
4  the API is not reachable
"""

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

from headgate.kit.controls.faults import Fault, InvalidArgument, Unavailable, Violation

FAILED, USAGE, REFUSED, UNREACHABLE = 1, 2, 3, 4


class Failure(click.ClickException):
    """An error that is shown without a traceback. `problem` is the API's own answer, if there was one."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: int = FAILED,
        hint: str = "",
        violations: Sequence[Violation] = (),
        problem: Mapping[str, Any] | None = None,
        details: str = "",
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click makes the same assignment
        self.hint = hint
        self.violations = violations
        self.problem = problem
        self.details = details
        self.form = "table"

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to standard error; as JSON when the command was asked for JSON."""
        if self.form == "json":
            click.echo(json.dumps(self.as_problem()), err=True, file=file)
            return
        click.echo(click.style("error: ", fg="red") + self.message, err=True, file=file)
        for violation in self.violations:
            if violation.message != self.message:
                where = f"{violation.pointer}: " if violation.pointer else ""
                click.echo(f"  {where}{violation.message}", err=True, file=file)
            if violation.hint and violation.hint != self.hint:
                click.echo(f"    {violation.hint}", err=True, file=file)
        if self.details:
            click.echo(self.details, err=True, file=file)
        if self.hint and not self.message.endswith(self.hint):  # some faults carry it in the message, for logs
            click.echo(click.style("hint: ", fg="cyan") + self.hint, err=True, file=file)

    def as_problem(self) -> Mapping[str, Any]:
        """The problem document (RFC 9457): the API's, or one like it."""
        if self.problem:
            return self.problem
        errors = [{"pointer": each.pointer, "message": each.message, "hint": each.hint} for each in self.violations]
        return {"title": self.message, "detail": self.message, "hint": self.hint, "errors": errors}


def of_problem(status: int, problem: Mapping[str, Any]) -> Failure:
    """The failure for an answer of the API that is a problem document."""
    message = str(problem.get("detail") or problem.get("title") or f"the API answered {status}")
    errors = problem.get("errors") or ()
    violations = [
        Violation(str(each.get("pointer", "")), str(each.get("message", "")), str(each.get("hint") or ""))
        for each in errors
        if isinstance(each, Mapping)
    ]
    request_id = problem.get("request_id")
    server_failed = status >= 500
    return Failure(
        message,
        exit_code=FAILED if server_failed else REFUSED,
        hint=str(problem.get("hint") or ""),
        violations=violations,
        problem=problem,
        details=f"  request id {request_id}" if request_id and server_failed else "",
    )


def as_failure(error: Exception) -> Failure:
    """The failure for anything raised."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, Fault):
        usage = isinstance(error, InvalidArgument)
        return Failure(
            error.message,
            exit_code=USAGE if usage else FAILED,
            hint=error.hint,
            violations=error.violations,
            details=error.internal if isinstance(error, Unavailable) else "",
        )
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return Failure(f"{error.strerror or error}{where}")
    if isinstance(error, ModuleNotFoundError) and not (error.name or "headgate").startswith("headgate"):
        return Failure(
            f"{error.name} is not installed",
            hint="an extra brings it: cli and service for services, controlplane, dataplane; "
            "such as pip install 'headgate[cli,service]'",
        )
    return Failure(
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a defect of Headgate; run again with HEADGATE_TRACEBACK=1 and report what it prints",
    )
