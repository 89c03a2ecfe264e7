"""The guides to wires, brokers and registries are run: their Python, their commands, and what these are said to say."""

import asyncio
import inspect
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.service import App, ServiceSettings
from headgate.service.broker.base import DEAD
from headgate.service.registry import FileRegistry, registry_from
from headgate.service.registry.consul_api import ConsulOptions
from headgate.service.registry.dns import DnsOptions
from headgate.service.registry.kube_form import KubeForm, instances_of
from headgate.service.registry.kubernetes import KubeOptions
from headgate.service.topic import check_pattern, check_subject, matches
from headgate.testing.nats import Nats, nats_or_skip
from tests.docs.test_snippets import AWAITING, GUIDES, ROOT, blocks, python_of


def _fields(options: Any) -> set[str]:
    return {each.name for each in fields(options)}


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


async def test_registries(page_of: Any, tmp_path: Path) -> None:
    """What the guide to registries shows of an application and of an outage is what happens."""
    page = page_of("registries", **{"/srv/services.yaml": str(tmp_path / "services.yaml")})
    for block in python_of(page.file):
        await page.python(block)


OPTIONS = {
    "A file": ("file:///srv/services.json", {"interval", "ttl"}, (FileRegistry,)),
    "DNS": ("dns:///internal.example", _fields(DnsOptions) - {"server"}, (DnsOptions,)),
    "Consul": ("consul://127.0.0.1:8500", _fields(ConsulOptions) - {"token", "least_pause"}, (ConsulOptions,)),
    "Kubernetes": (
        "kubernetes://",
        (_fields(KubeOptions) | _fields(KubeForm) | {"namespace"}) - {"namespaces", "form"},
        (KubeOptions, KubeForm),
    ),
}


@pytest.mark.parametrize("section", OPTIONS)
def test_every_option_of_a_registry_is_told(section: str) -> None:
    """The guide has every option that the URL of a registry takes, with the default it has."""
    url, names, made_from = OPTIONS[section]
    text = (GUIDES / "registries.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", text.partition("\n    ")[0], re.MULTILINE))
    assert set(told) == names
    with pytest.raises(InvalidArgument) as raised:
        registry_from(f"{url}?{'&'.join(names)}&no-such=")
    assert [each.pointer for each in raised.value.violations if "unknown" in each.message] == ["/query/no-such"]
    defaults = {name: each.default for kind in made_from for name, each in inspect.signature(kind).parameters.items()}
    wrong = {name: told[name] for name in names & set(defaults) if not is_default(told[name], defaults[name])}
    assert wrong == {}


def is_default(told: str, default: Any) -> bool:
    """Whether that is what the table tells of a default; where there is none it may be told in words."""
    match default:
        case bool():
            return told == f"`{str(default).lower()}`"
        case int() | float() if default:
            return told == f"{default:g}"
        case str() | tuple() if default:
            return told == f"`{default if isinstance(default, str) else ','.join(default)}`"
    return "`" not in told


def test_urls_in_the_guide_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every URL of a registry that stands in the guide is read without a complaint of it."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    text = (GUIDES / "registries.md").read_text(encoding="utf-8")
    urls = re.findall(r"(?<![\w/])(?:memory|file|dns|consuls?|kubernetes)://[^\s`'\")|]*", text)
    assert len(urls) > 10
    for url in urls:
        try:
            registry_from(url)
        except FailedPrecondition as fault:  # there is no cluster here, and no authority in that place
            assert fault.code in {"no_kubernetes", "registry_untrusted"}, url  # noqa: PT017


def test_the_manifests_are_what_the_registry_reads() -> None:
    """The example's Service tells wires, version and metadata, and its Deployment sets what are settings."""
    manifests = ROOT / "deploy" / "kubernetes"
    service, deployment = yaml.safe_load_all((manifests / "orders.yaml").read_text(encoding="utf-8"))
    ports = [{"name": each["name"], "port": each["port"]} for each in service["spec"]["ports"]]
    endpoint = {"addresses": ["10.0.0.1"], "targetRef": {"name": "orders-1"}}
    (made,) = instances_of(
        "orders", service, [{"addressType": "IPv4", "ports": ports, "endpoints": [endpoint]}], KubeForm()
    )
    assert made.endpoints == {"http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:50051"}
    assert (made.version, made.metadata["team"]) == ("1.2.0", "shop")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told = {each["name"].lower(): each["value"] for each in container["env"]}
    settings = ServiceSettings(**told)
    listed = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert (settings.host, listed) == ("0.0.0.0", {"http": settings.port, "grpc": settings.grpc_port})
    assert pod["terminationGracePeriodSeconds"] > settings.shutdown_delay + settings.shutdown_grace
    readers = [
        each
        for name in ("reader", "reader-of-all-namespaces")
        for each in yaml.safe_load_all((manifests / f"{name}.yaml").read_text(encoding="utf-8"))
    ]
    rights = {verb for each in readers for rule in each.get("rules", ()) for verb in rule["verbs"]}
    assert rights == {"list", "watch"}
    assert pod["serviceAccountName"] in {each["metadata"]["name"] for each in readers}


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
