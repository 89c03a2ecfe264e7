"""The guides to wires, brokers and registries are run: their Python, their commands, and what these are said to say."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headgate.service import App, ServiceSettings
from headgate.service.broker.base import DEAD
from headgate.service.topic import check_pattern, check_subject, matches
from headgate.testing.nats import Nats, nats_or_skip
from tests.docs.test_snippets import AWAITING, GUIDES, blocks, python_of

PATIENCE = 30.0
COMMAND = re.compile(r"(?:curl|printf) ")
SAID = re.compile(r"print\(.*\)  # (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def nats() -> Iterator[Nats]:
    """One server."""
    with nats_or_skip() as server:
        yield server


class Page:
    """A guide, run from top to bottom in one module. `places` are what stands in for addresses that are shown."""

    def __init__(self, name: str, path: Path, places: Mapping[str, str]) -> None:
        self.file = GUIDES / f"{name}.md"
        self.path = path
        self.places = dict(places)
        self.module = ModuleType(f"page_{name}")
        self.said: list[str] = []
        self.begun = ""
        vars(self.module)["print"] = lambda *words: self.said.append(" ".join(map(str, words)))

    async def begin(self) -> None:
        """Run the first block, which says what is served."""
        self.begun = next(python_of(self.file))
        await self.python(self.begun)

    async def run(self) -> tuple[int, int]:
        """Run what follows. Returns how many blocks of Python and how many commands there were."""
        python, count = set(python_of(self.file)) - {self.begun}, [0, 0]
        for block in blocks(self.file):
            if block in python:
                await self.python(block)
                count[0] += 1
            elif COMMAND.match(block):
                for command, answer in commands_of(block):
                    said = await self.shell(command)
                    assert same(answer, said), f"{command}\n{said}"
                    count[1] += 1
        return count[0], count[1]

    async def python(self, block: str) -> list[str]:
        """Run a block. Returns what it printed, which is what stands beside it, where something does."""
        self.said.clear()
        running = eval(compile(self.placed(block), str(self.file), "exec", AWAITING), vars(self.module))  # noqa: S307
        if running is not None:
            await asyncio.wait_for(running, PATIENCE)
        shown = SAID.findall(block)
        assert len(shown) in (0, len(self.said)), (block, self.said)
        assert [(told, said) for told, said in zip(shown, self.said, strict=False) if not same(told, said)] == []
        return list(self.said)

    async def shell(self, command: str) -> str:
        """Run a command. Returns what it says."""
        process = await asyncio.create_subprocess_shell(
            self.placed(command), cwd=self.path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "no_proxy": "*", "NO_PROXY": "*"},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, command
        return out.decode()

    def placed(self, text: str) -> str:
        """The text with the addresses there are."""
        for shown, real in self.places.items():
            text = text.replace(shown, real)
        return text


def commands_of(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and the answer that is shown below it. A quote that is open goes on."""
    command, answer = "", ""
    for line in block.splitlines():
        if command and command.count("'") % 2:
            command += f"\n{line}"
        elif COMMAND.match(line):
            if command:
                yield command, answer
            command, answer = line, ""
        else:
            answer += f"{line}\n"
    yield command, answer


def same(shown: str, said: str) -> bool:
    """Whether this was said; blanks do not count, and `...` is anything."""
    told, heard = ("".join(text.split()) for text in (shown, said))
    return not told or re.fullmatch(".*".join(map(re.escape, told.split("..."))), heard) is not None


@asynccontextmanager
async def served(page: Page, **settings: Any) -> AsyncIterator[None]:
    """The application that the page's first block makes, at the addresses the page shows."""
    app: App = vars(page.module)["app"]
    async with app.like(settings=ServiceSettings(**settings)).started() as running:
        page.places |= {"http://127.0.0.1:8080": running.url, "ws://127.0.0.1:8080/rpc": running.socket_url}
        yield


@pytest.fixture
def page_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes pages whose modules are known as long as the test runs."""
    monkeypatch.chdir(tmp_path)
    for variable in [each for each in os.environ if each.lower() in ServiceSettings.model_fields]:
        monkeypatch.delenv(variable)

    def make(name: str, **places: str) -> Page:
        page = Page(name, tmp_path, places)
        monkeypatch.setitem(sys.modules, page.module.__name__, page.module)
        return page

    return make


async def test_wires(page_of: Any, nats: Nats) -> None:
    """Every command and every caller in the guide to wires is answered as the guide says."""
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("curl is not installed")
    page = page_of("wires", **{"nats://127.0.0.1:4222": nats.url})
    await page.begin()
    async with served(page, nats_url=nats.url, mcp=True, rate_limit_default="off"):
        counted = await page.run()
    assert counted == (3, 20)


async def test_brokers(page_of: Any, nats: Nats) -> None:
    """The story in the guide to events goes the same over every broker, and ends as the guide says."""
    places = {f"{scheme}://127.0.0.1:4222": nats.url.replace("nats", scheme, 1) for scheme in ("nats", "jetstream")}
    page = page_of("brokers", **places)
    said: list[str] = []
    await page.begin()
    for block in list(python_of(page.file))[1:]:
        said += await page.python(block)
    assert said == ["['o-1'] ['o-2: internal: something went wrong here']"] * 3 + ["Paid(order='o-3', amount=5)"] * 2
    assert said[0] in page.file.read_text(encoding="utf-8")


def test_patterns_mean_what_the_table_says():
    """The guide's table of patterns and subjects is that of the grammar, and of what is handed out."""
    head, *rows = tables(GUIDES / "brokers.md", "pattern")
    for pattern, *cells in rows:
        for subject, cell in zip(head[1:], cells, strict=True):
            pattern, subject = check_pattern(pattern.strip("`")), check_subject(subject.strip("`"))  # noqa: PLW2901
            dead = subject.endswith(DEAD) and not pattern.endswith(DEAD)
            said = "see below" if dead and pattern.endswith(">") else "yes" if matches(pattern, subject) else "no"
            assert cell == said, (pattern, subject)


def tables(page: Path, name: str) -> list[list[str]]:
    """The rows of the table whose first column has this name, its head first."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"^\| {re.escape(name)} \|(?:.*\n\|)*.*$", text, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in found[0].splitlines()]
    return [rows[0], *rows[2:]]


def test_what_is_the_same():
    """Blanks do not count, three dots are anything, and anything else is a difference."""
    assert same('{"a": 1,\n "b": ...}', '{"a":1,"b":{"c":2}}')
    assert not same('{"a": 1}', '{"a":2}')
    assert not same("3", "33")
