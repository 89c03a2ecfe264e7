"""From nothing to a request that passed through Envoy, and what to tell the user then."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import click

from headgate.cli.failures import Failure
from headgate.cli.up.ask import ask, ask_json
from headgate.cli.up.children import Children
from headgate.cli.up.plan import Plan, examples
from headgate.kit.serve.ports import shown

_POLL = 0.02
_PATIENCE = 20.0
DEMO = "bookshop"


class Tour:
    """Starts the children, publishes the bookshop in a new database, proves a request, prints the table.

    `started` is when the command began, on the monotonic clock.
    """

    def __init__(self, plan: Plan, children: Children, started: float) -> None:
        self._plan = plan
        self._children = children
        self._started = started
        self._old_token = self._token()
        self._variable_is_unknown = False

    async def run(self) -> None:
        """Do all of it. Raises Failure and Fault."""
        await self._children.start()
        token = await self._wait_for_token()
        if token and self._plan.demo and (await self._is_new(token) or await self._has_moved(token)):
            await self._publish(token)
        gateway = await self._gateway(token) if token else self._plan.gateway
        proof = await self._prove(gateway, published=bool(token) and await self._has_demo(token))
        self._show(gateway, token, proof)

    def _token(self) -> str:
        with suppress(OSError):
            return self._plan.token_file.read_text(encoding="ascii", errors="replace").strip()
        return ""

    async def _wait_for_token(self) -> str:
        """The token to ask the API with; "" when this directory has none and none was made.

        The control plane hands the token of a new database over just after it began to answer. That one, or the
        one kept from an earlier start, goes before the variable: the variable may be for another control plane.
        """
        given = os.environ.get("HEADGATE_TOKEN", "")
        refused: set[str] = set()
        deadline = time.monotonic() + 3.0
        while True:
            for token in (self._token(), given):
                if not token or token in refused:
                    continue
                status = await self._whoami(token)
                if status == HTTPStatus.OK:
                    self._variable_is_unknown = bool(given) and given != token and await self._is_unknown(given)
                    return token
                if status == HTTPStatus.UNAUTHORIZED:
                    refused.add(token)
            if time.monotonic() > deadline:
                self._variable_is_unknown = given in refused
                return ""
            await asyncio.sleep(_POLL)

    async def _whoami(self, token: str) -> int:
        """The status the API answers a token with, 401 also for what cannot be sent; 0 when there is no answer."""
        if not (token.isascii() and token.isprintable()):
            return HTTPStatus.UNAUTHORIZED
        answer = await ask(f"{self._plan.api}/api/v1/whoami", token=token)
        return answer.status if answer else 0

    async def _is_unknown(self, token: str) -> bool:
        return await self._whoami(token) == HTTPStatus.UNAUTHORIZED

    async def _is_new(self, token: str) -> bool:
        """Whether nothing was ever published here, as far as the token may know."""
        answer = await ask(f"{self._plan.api}/api/v1/teams/default", token=token)
        return answer is not None and answer.status == HTTPStatus.OK and json.loads(answer.body)["revision"] == 0

    async def _has_moved(self, token: str) -> bool:
        """Whether the bookshop is published at another port than it has now."""
        cluster = await self._find(token, f"clusters/{DEMO}")
        if cluster is None or cluster["owner"] != f"api/{DEMO}":
            return False
        return [one.get("port") for one in cluster["spec"].get("endpoints", ())] != [self._plan.demo_port]

    async def _publish(self, token: str) -> None:
        """Import the bookshop as a user would."""
        document = (examples() / "bookshop" / "openapi.json").read_bytes()
        query = urlencode({"name": DEMO, "upstream": self._plan.upstream})
        await ask_json(
            f"{self._plan.api}/api/v1/platform/import/openapi?{query}",
            method="POST",
            body=document,
            token=token,
            seconds=60.0,
        )

    async def _find(self, token: str, path: str) -> Mapping[str, Any] | None:
        answer = await ask(f"{self._plan.api}/api/v1/native/{path}", token=token, seconds=10.0)
        if answer is None or answer.status != HTTPStatus.OK:
            return None
        found = json.loads(answer.body)
        return found if isinstance(found, dict) else None

    async def _has_demo(self, token: str) -> bool:
        return self._plan.demo and await self._find(token, f"clusters/{DEMO}") is not None

    async def _gateway(self, token: str) -> str:
        """The URL of the default listener as it is stored; "" when there is none."""
        listener = await self._find(token, "listeners/gateway")
        if listener is None:
            return ""
        host = str(listener["spec"].get("address", "127.0.0.1"))
        return f"http://{shown({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host), listener['spec']['port'])}"

    async def _prove(self, gateway: str, *, published: bool) -> str:
        """Ask through Envoy until it answers, and say how that went; "" when nothing is published yet."""
        await self._children.wait_for_envoy()
        if not gateway:
            return ""
        url = f"{gateway}/books" if published else f"{gateway}/"
        deadline = time.monotonic() + _PATIENCE
        answer = None
        while time.monotonic() < deadline:
            answer = await ask(url)
            if answer and (answer.status == HTTPStatus.OK or not published):
                break
            await asyncio.sleep(_POLL)
        if answer is None:
            raise Failure(
                f"{url} does not answer, though Envoy runs",
                hint=f"`headgate status` says what Envoy refused; its log is {self._plan.state / 'logs' / 'envoy.log'}",
            )
        return f"GET {url} answered {answer.status} through Envoy"

    def _show(self, gateway: str, token: str, proof: str) -> None:
        plan, took = self._plan, time.monotonic() - self._started
        click.echo()
        if proof:
            click.echo(f"{proof}, {took:.1f} s after the start.\n")
        rows = {
            "API": f"{plan.api}/api/v1/",
            "API documentation": f"{plan.api}/swagger-ui",
            "gateway": gateway or f"{plan.gateway} (nothing is published yet)",
        }
        if token and token != self._old_token and token == self._token():
            rows["admin token"] = f"{token} (shown this once, and kept in {plan.token_file})"
        elif not token:
            rows["admin token"] = f"none in {plan.token_file}: set HEADGATE_TOKEN to use the other commands"
        width = max(map(len, rows))
        for name, value in rows.items():
            click.echo(f"  {name:{width}}  {value}")
        if gateway and not gateway.endswith(f":{plan.control.gateway_port}"):
            click.echo(f"\nThe stored listener 'gateway' is not at gateway_port {plan.control.gateway_port};")
            click.echo("`headgate edit listener gateway` moves it.")
        if self._variable_is_unknown:
            click.echo(
                "\nnote: this API does not know the token in HEADGATE_TOKEN, and the other commands show that one;"
            )
            click.echo("      unset it to use the token kept here.")
        click.echo("\nTry:\n")
        for line in self._curls(gateway, with_demo=bool(proof) and f"{gateway}/books" in proof):
            click.echo(f"  {line}")
        click.echo()

    def _curls(self, gateway: str, *, with_demo: bool) -> list[str]:
        if with_demo:
            return [
                f"curl {gateway}/books",
                f"""curl -X POST {gateway}/orders -H 'content-type: application/json' -d '{{"book": "dune"}}'""",
                f"curl -N '{gateway}/stock/events?limit=3'",
            ]
        shows = f'curl -H "Authorization: Bearer $(cat {self._plan.token_file})" {self._plan.api}/api/v1/native'
        return [f"{shows}/listeners", f"{shows}/dataplanes", f"curl {self._plan.api}/ready"]
