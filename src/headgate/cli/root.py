"""The table of verbs. Each is imported when it is used, so that `headgate --help` answers at once."""

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from headgate import __version__
from headgate.cli.failures import Failure, as_failure
from headgate.cli.options import DEFAULT_API, Options

VERBS: dict[str, tuple[str, str]] = {
    "up": ("headgate.cli.up.command:up", "Run the whole platform here: control plane, Envoy and a demo."),
    "serve": ("headgate.cli.serve:serve", "Run the control plane alone."),
    "envoy": ("headgate.cli.envoy:envoy", "Run one supervised Envoy against a control plane."),
    "new": ("headgate.cli.new:new", "Make a new project: a typed service with its tests, image and chart."),
    "generate": ("headgate.cli.generate:generate", "Write code: services, methods, clients, documents."),
    "run": ("headgate.cli.run.command:run", "Run all services of a workspace, and again when their files change."),
    "call": ("headgate.cli.call.command:call", "Call a method of a service that runs somewhere."),
    "services": ("headgate.cli.services:services", "What a registry knows: services and their instances."),
    "contract": ("headgate.cli.contract:contract", "What services promise, compared with what they promised before."),
    "expose": ("headgate.cli.publish:expose", "Publish a URL under a path of the gateway."),
    "unexpose": ("headgate.cli.publish:unexpose", "Take back what `expose` published."),
    "import": ("headgate.cli.importing:import_", "Publish what a document describes."),
    "apis": ("headgate.cli.apis:apis", "API definitions that were imported."),
    "status": ("headgate.cli.status:status", "What each dataplane wants, has acknowledged and has refused."),
    "get": ("headgate.cli.resources:get", "Show resources."),
    "apply": ("headgate.cli.resources:apply", "Create or replace resources from files, all or none."),
    "edit": ("headgate.cli.resources:edit", "Change a resource in your editor."),
    "delete": ("headgate.cli.resources:delete", "Delete a resource."),
    "history": ("headgate.cli.history:history", "Who changed what, when."),
    "restore": ("headgate.cli.history:restore", "Go back to an earlier revision."),
    "token": ("headgate.cli.tokens:token", "Tokens: who may do what."),
    "team": ("headgate.cli.teams:team", "Teams: whose configuration is whose."),
    "dataplane": ("headgate.cli.dataplanes:dataplane", "Envoys: their bootstrap, and those that were here."),
    "config": ("headgate.cli.config:config", "Show every setting: its value, and where it came from."),
}


class Verbs(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Names in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - a test walks the table
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table, importing nothing."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; whatever it raises leaves as a Failure that knows in which form to be shown."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.exceptions.Abort, BrokenPipeError) as error:
            if isinstance(error, Failure):
                error.form = options(ctx).output
            if isinstance(error, click.NoSuchOption) and (right := self._before_the_verb(ctx, error)):
                raise click.UsageError(f"{error.message} Put it before the verb: {right}", error.ctx) from None
            raise
        except Exception as error:
            if os.environ.get("HEADGATE_TRACEBACK"):
                raise
            failure = as_failure(error)
            failure.form = options(ctx).output
            raise failure from error

    def _before_the_verb(self, ctx: click.Context, error: click.NoSuchOption) -> str:
        """How to write a global option that was given after the verb; "" for any other option."""
        for option in self.params:
            if error.option_name in option.opts and option.name != "version":
                value = "json" if option.name == "output" else option.make_metavar(ctx)
                verb = error.ctx.command_path.removeprefix(f"{ctx.command_path} ") if error.ctx else "VERB"
                return f"{ctx.command_path} {error.option_name} {value} {verb} ..."
        return ""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one for a misspelt name."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(f"No such verb '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""), ctx)
        return super().resolve_command(ctx, args)


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the API, 4 API not reachable.",
)
@click.option(
    "--api",
    envvar="HEADGATE_API",
    show_envvar=True,
    metavar="URL",
    help=f"The control plane's API; unless given, the one `headgate up` runs in this directory, else {DEFAULT_API}.",
)
@click.option(
    "--token",
    envvar="HEADGATE_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="Token to show; unless given, the admin token that `headgate up` wrote in this directory.",
)
@click.option(
    "--team",
    envvar="HEADGATE_TEAM",
    show_envvar=True,
    metavar="NAME",
    help="Team to act for; unless given, the token's.",
)
@click.option(
    "--output",
    "-o",
    envvar="HEADGATE_OUTPUT",
    show_envvar=True,
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Form of what is printed.",
)
@click.version_option(__version__, prog_name="headgate")
@click.pass_context
def cli(ctx: click.Context, api: str | None, token: str | None, team: str | None, output: str) -> None:
    """Headgate: a control plane for real Envoy, in Python.

    Start with `headgate up`.
    """
    ctx.obj = Options(api=api, token=token, team=team, output=output)


def run() -> NoReturn:
    """Run the command line and leave with its exit code; never with a traceback."""
    try:
        code = cli.main(standalone_mode=False, prog_name="headgate")
    except click.exceptions.Abort as abort:
        if isinstance(abort.__cause__, KeyboardInterrupt):
            sys.exit(130)
        click.echo("aborted", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def options(ctx: click.Context) -> Options:
    """The global options of a command."""
    found: Any = ctx.find_object(Options)
    assert isinstance(found, Options)  # noqa: S101 - the group sets it
    return found
