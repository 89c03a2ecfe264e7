"""`headgate run`: the verb. What is decided before anything is started, and what is shown then."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headgate.cli.failures import USAGE, Failure
from headgate.cli.options import state_directory

if TYPE_CHECKING:
    from headgate.cli.run.logs import Console
    from headgate.cli.run.runner import Plan, Runner
    from headgate.service.dev.workspace import AppEntry, Workspace

FIRST_PORT: Final = 8080
FIRST_GRPC_PORT: Final = 50_051
INSPECTOR_PORT: Final = 8090
NATS_PORT: Final = 4222
_TRIES: Final = 200


@click.command(
    epilog="""\b
Examples:
  headgate run
  headgate run --nats --only orders --only payments
  headgate run orders.app:app --port 8081
  headgate run services --no-reload --no-inspector

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 one could not start or ended (only with --no-reload), 2 wrong usage."""
)
@click.argument("where", metavar="[DIRECTORY|MODULE:APP]", default=".")
@click.option("--only", metavar="NAME", multiple=True, help="Run this application alone; may be given again.")
@click.option("--reload/--no-reload", default=True, show_default=True, help="Start again what changed.")
@click.option("--nats", is_flag=True, help="Run a NATS server with JetStream too, and give it to all.")
@click.option("--port", metavar="PORT", type=click.IntRange(0, 65_535), help="Port of the first application.  [8080]")
@click.option(
    "--inspector/--no-inspector",
    default=True,
    show_default=True,
    help="Serve a page of all contracts with a form that calls them, for this machine alone.",
)
@click.option("--inspector-port", metavar="PORT", type=click.IntRange(0, 65_535), help="Its port.  [8090]")
@click.option("--raw-logs", is_flag=True, help="Show logs as they are written.")
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(0, 3_600),
    default=20.0,
    show_default=True,
    help="Longest an application may take to end before it is killed.",
)
def run(
    where: str,
    only: tuple[str, ...],
    reload: bool,
    nats: bool,
    port: int | None,
    inspector: bool,
    inspector_port: int | None,
    raw_logs: bool,
    grace: float,
) -> None:
    """Run all services of a workspace, and again when their files change.

    Each application is a process of its own, started behind those it depends on. When files change, only those that
    imported them drain and start again; one that cannot is left alone until the next change. They find each other
    through a registry of this directory, which `headgate call` and `headgate services` read too. Ports that are not
    declared in pyproject.toml are free ones. Ctrl-C drains and ends all.
    """
    began = time.monotonic()
    from headgate.cli.run.logs import Console
    from headgate.cli.up.lock import Lock

    workspace = _workspace(where)
    entries = workspace.ordered(only)
    console = Console([*(each.name for each in entries), *(["nats"] if nats else [])], raw=raw_logs)
    state = workspace.root / state_directory() / "run"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as held:
        lock = Lock(state, "run")
        held.callback(lock.release)
        registry = state / "services.json"
        registry.unlink(missing_ok=True)
        held.callback(registry.unlink, missing_ok=True)
        plan = _plan(entries, state, port, inspector_port if inspector else None, inspector, nats, reload, grace)
        code = asyncio.run(_run(entries, plan, console, began))
    if code:
        raise Failure("an application could not start, or ended", hint="its last lines say why", exit_code=code)


async def _run(entries: Sequence["AppEntry"], plan: "Plan", console: "Console", began: float) -> int:
    from headgate.cli.run.logs import RUNNER
    from headgate.cli.run.runner import Runner
    from headgate.kit.observe.logs import configure_logs

    configure_logs("warning", "console")
    stop = _stop_on_signals(console)
    runner = Runner(entries, plan, console, lambda each: _announce(each, console, time.monotonic() - began))
    names = ", ".join(each.name for each in entries)
    console(RUNNER, f"starting {names}; Ctrl-C stops {'it' if len(entries) == 1 else 'them'}")
    code = await runner.run(stop)
    console(RUNNER, "stopped")
    return code


def _announce(runner: "Runner", console: "Console", took: float) -> None:
    """Say where everything answers, and what to type."""
    from headgate.cli.run.logs import RUNNER
    from headgate.cli.run.process import LOOPBACK

    example = ""
    for name, process in runner.processes.items():
        if process.state != "ready":
            console(RUNNER, f"{name}: cannot start; waiting for a change")
            continue
        services = ", ".join(f"{each['service']} {each['version']}" for each in process.report.contracts)
        console(RUNNER, f"{name}: {process.url}  grpc {LOOPBACK}:{process.grpc_port}  ({services})")
        example = example or _example(process.report.contracts)
    if runner.nats is not None:
        console(RUNNER, f"nats: {runner.nats.url}")
    if runner.inspector is not None:
        console(RUNNER, f"contracts, and a form to call them: {runner.inspector.url}")
    if example:
        console(RUNNER, f"try: {example}")
    count = sum(each.state == "ready" for each in runner.processes.values())
    console(RUNNER, f"ready: {count} of {len(runner.processes)} after {took:.1f} s")


def _example(contracts: list[dict[str, object]]) -> str:
    """A call of the first public method, else of the first."""
    from headgate.cli.call.example import example_of

    return next(filter(None, map(example_of, contracts)), "")


def _workspace(where: str) -> "Workspace":
    from headgate.service.dev.workspace import AppEntry, Workspace, load_workspace

    if ":" not in where:
        root = Path(where)
        if not root.is_dir():
            raise Failure(f"there is no directory {where}", exit_code=USAGE, hint="a target is MODULE:APP")
        return load_workspace(root)
    root = Path.cwd()
    paths = (root / "src", root) if (root / "src").is_dir() else (root,)
    name = where.partition(":")[0].partition(".")[0].replace("_", "-").lower().strip("-")
    return Workspace(root, (AppEntry(name or "app", where, root, paths),))


def _plan(
    entries: Sequence["AppEntry"],
    state: Path,
    port: int | None,
    inspector_port: int | None,
    inspector: bool,
    nats: bool,
    reload: bool,
    grace: float,
) -> "Plan":
    from headgate.cli.run.runner import Plan

    with _ports() as take:
        ports: dict[str, tuple[int, int]] = {}
        for number, each in enumerate(entries):
            wanted = port if number == 0 and port else each.port
            ports[each.name] = (
                take(wanted, FIRST_PORT, f"{each.name}: port"),
                take(each.grpc_port, FIRST_GRPC_PORT, f"{each.name}: grpc_port"),
            )
        page = take(inspector_port or 0, INSPECTOR_PORT, "--inspector-port") if inspector else 0
        nats_port = take(0, NATS_PORT, "nats") if nats else 0
    return Plan(
        state=state,
        ports=ports,
        environment=_environment(state, nats_port),
        reload=reload,
        nats=nats_port,
        inspector=page,
        grace=grace,
    )


def _environment(state: Path, nats_port: int) -> dict[str, str]:
    """The settings all are given, whatever they are told otherwise: where they listen and meet."""
    given = {
        "HOST": "127.0.0.1",
        "REGISTRY": f"file://{(state / 'services.json').absolute()}",
        "PYTHONUNBUFFERED": "1",
    }
    if nats_port:
        given |= dict.fromkeys(("NATS_URL", "BROKER"), f"nats://127.0.0.1:{nats_port}")
    return given


class _Take:
    """Hands out ports nobody listens on. Each is held until all are chosen, so that none is given twice."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    def __call__(self, wanted: int, first: int, setting: str) -> int:
        """The port that is wanted, or with 0 the first free one from `first` on."""
        for candidate in (wanted,) if wanted else range(first, first + _TRIES):
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
                probe.listen(1)
            except OSError:
                probe.close()
                continue
            self._held.callback(probe.close)
            return candidate
        taken = f"port {wanted} is in use" if wanted else f"no port from {first} on is free"
        raise Failure(f"{setting}: {taken}", hint="end what listens there, or choose another")


@contextmanager
def _ports() -> Iterator[_Take]:
    with ExitStack() as held:
        yield _Take(held)


def _stop_on_signals(console: "Console") -> asyncio.Event:
    """An event that a first signal sets; a second one ends this process at once, and the leash all others."""
    from headgate.cli.run.logs import RUNNER

    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        console(RUNNER, "stopping: what is under way is finished first; once more stops at once")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN and number == signal.SIGHUP:
            continue  # started with nohup
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop
