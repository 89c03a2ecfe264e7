"""`headgate up`: the whole platform in one process tree."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from headgate.cli.config import flags_given, load_settings
from headgate.cli.up.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])


def _setting(*names: str, help_text: str) -> Callable[[F], F]:
    return click.option(*names, metavar="PORT", default=None, help=help_text)


@click.command()
@_setting("--api-port", help_text="Port of the API.  [8080]")
@_setting("--xds-port", help_text="Port Envoys connect to.  [18000]")
@_setting("--gateway-port", help_text="Port of the gateway.  [10000]")
@_setting("--envoy-admin-port", "--admin-port", "envoy_admin_port", help_text="Port of Envoy's administration.  [9901]")
@click.option(
    "--demo/--no-demo",
    envvar="HEADGATE_DEMO",
    show_envvar=True,
    default=True,
    show_default=True,
    help="Run the bookshop; a new database starts with it published.",
)
@click.option(
    "--demo-port",
    envvar="HEADGATE_DEMO_PORT",
    show_envvar=True,
    type=click.IntRange(1, 65_535),
    default=8001,
    show_default=True,
    metavar="PORT",
    help="Port of the bookshop.",
)
@click.option("--validate/--no-validate", default=None, help="Show each change to Envoy before it is stored.  [yes]")
@click.option("--state-dir", metavar="DIRECTORY", default=None, help="Where everything is kept.  [.headgate]")
@click.option("--database-url", metavar="URL", default=None, help="Where the configuration is kept.  [a file there]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File of settings in TOML; unless given, HEADGATE_CONFIG_FILE, else headgate.toml if it is here.",
)
def up(config_file: Path | None, demo: bool, demo_port: int, validate: bool | None, **arguments: Any) -> None:
    """Run the whole platform here: control plane, Envoy and a demo.

    Ctrl-C stops all of it. What it knows is kept in .headgate and is there again the next time. Every other
    setting of `headgate config` applies too.
    """
    started = time.monotonic()
    flags = flags_given(arguments)
    if validate is not None:
        flags["preflight"] = "on" if validate else "off"
    control, data = load_settings(flags, config_file)
    plan = Plan(control, data, flags, config_file, demo, demo_port)
    from headgate.cli.up.lock import Lock

    plan.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = Lock(plan.state)
    try:
        plan.check()
        asyncio.run(_run(plan, started))
    finally:
        lock.release()


async def _run(plan: Plan, started: float) -> None:
    from headgate.cli.up.children import Children
    from headgate.cli.up.tour import Tour

    stop = _stop_on_signals()
    children = Children(plan, _say)
    with_demo = ", Envoy and the bookshop" if plan.demo else " and Envoy"
    click.echo(f"Starting the control plane{with_demo}; Ctrl-C stops them. Logs are in {plan.state / 'logs'}/")
    tour = Tour(plan, children, started)
    touring = asyncio.create_task(tour.run())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({touring, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            touring.result()
            children.announce()
            await stopped
    finally:
        touring.cancel()
        stopped.cancel()
        _say("\nStopping ...")
        await children.stop()
        await asyncio.gather(touring, stopped, return_exceptions=True)
    _say("Stopped.")


def _say(line: str) -> None:
    with suppress(OSError):  # whoever read this may have gone; the platform stays
        click.echo(line)


def _stop_on_signals() -> asyncio.Event:
    """An event that a first signal sets; a second one ends the process at once, and its children with it."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # started with nohup
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop
