"""The parts of `headgate run` and `headgate call` that need no process."""

import click
import pytest

from headgate.cli.call.example import example_of, sample
from headgate.cli.call.place import apart, http_base
from headgate.cli.failures import as_failure
from headgate.cli.run.changes import affected
from headgate.cli.run.logs import Console, readable
from headgate.cli.run.process import Process
from headgate.cli.run.usual import usual
from headgate.service.dev.report import Report
from headgate.service.dev.workspace import AppEntry


def process(tmp_path, name, *modules):
    """One that never ran, of an application below `tmp_path`."""
    (tmp_path / "src").mkdir(exist_ok=True)
    entry = AppEntry(name, f"{name}:app", tmp_path, (tmp_path / "src",))
    made = Process(entry, port=1, grpc_port=2, environment={}, state=tmp_path, say=lambda *_: None)
    made.report = Report(modules=[str(tmp_path / "src" / module) for module in modules])
    made.state = "ready"
    return made


def names(found):
    """Their names."""
    return [each.entry.name for each in found]


def test_a_change_is_of_those_that_imported_it(tmp_path):
    """A file that was imported starts those again that did; a new one, or pyproject.toml, all beside it."""
    both = [process(tmp_path, "a", "a.py", "shared.py"), process(tmp_path, "b", "b.py", "shared.py")]
    assert names(affected([tmp_path / "src" / "a.py"], both)) == ["a"]
    assert names(affected([tmp_path / "src" / "shared.py"], both)) == ["a", "b"]
    assert names(affected([tmp_path / "src" / "new.py"], both)) == ["a", "b"]
    assert names(affected([tmp_path / "pyproject.toml"], both)) == ["a", "b"]
    both[1].state = "failed"
    assert names(affected([tmp_path / "src" / "a.py"], both)) == ["a", "b"]


@pytest.mark.parametrize("path", ["tests/test_a.py", "README.md", "src/sedAbC", "other/a.py"])
def test_a_change_that_is_none(tmp_path, path):
    """Tests, prose and what editors write beside a file start nothing again."""
    assert affected([tmp_path / path], [process(tmp_path, "a", "a.py")]) == []


def test_logs_are_told_apart(capsys):
    """Each line stands behind the name of who said it; JSON is read, other lines are left."""
    console = Console(["a", "long-name"])
    console("a", '{"event": "served", "level": "info", "time": "x", "path": "/a b"}')
    console("long-name", "Traceback")
    console("a", "")
    assert click.unstyle(capsys.readouterr().out).splitlines() == [
        'a         | info    served  path="/a b"',
        "long-name | Traceback",
    ]


@pytest.mark.parametrize("line", ["{", "{}", "[1]", '{"a": 1}', "text"])
def test_what_is_no_log_is_left(line):
    """A line that is no log of ours is shown as it is."""
    assert readable(line) == line


def test_exceptions_are_shown():
    """The traceback of a log's line is shown below it."""
    said = click.unstyle(readable('{"event": "failed", "level": "error", "exception": "Traceback\\nKeyError"}'))
    assert said == "error   failed\nTraceback\nKeyError"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "Ada"),
        ({"type": "string", "format": "date"}, "2030-01-31"),
        ({"type": "integer", "minimum": 5}, 6),
        ({"type": "boolean"}, True),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": "Ada"}),
        ({"$ref": "#/schemas/T"}, {"t": None}),
        ({"$ref": "#/schemas/Nobody"}, None),
    ],
)
def test_samples(schema, value):
    """A request is made up with what must be there and no more; one that refers to itself ends."""
    tree = {"T": {"type": "object", "properties": {"t": {"anyOf": [{"type": "null"}]}}, "required": ["t"]}}
    assert sample(schema, tree) == value


def test_example_prefers_what_is_public():
    """The call that is proposed is one that works without a token."""
    methods = [
        {"name": "Teach", "kind": "unary", "request": {}, "guard": {}},
        {"name": "Hello", "kind": "unary", "request": {"type": "object"}, "guard": {"public": True}},
    ]
    assert example_of({"service": "hello", "methods": methods}) == "headgate call hello/Hello"
    assert example_of({"service": "hello", "methods": []}) == ""


@pytest.mark.parametrize(
    ("address", "base"),
    [("http://a:1", "http://a:1"), ("wss://a:1/rpc", "https://a:1"), ("grpc://a:1", ""), ("nats://a", "")],
)
def test_where_contracts_are(address, base):
    """A contract is asked for over HTTP, where the address says where that is."""
    assert http_base(address) == base


@pytest.mark.parametrize(("module", "said"), [("jinja2", "jinja2 is not installed"), ("headgate.x", "unexpected")])
def test_extras_that_are_missing(module, said):
    """A library that is not installed is named with the extras; a module of ours that is not there is a defect."""
    failure = as_failure(ModuleNotFoundError(f"No module named '{module}'", name=module))
    assert failure.message.startswith(said)
    assert ("headgate[cli,service]" in failure.hint) == (module == "jinja2")


@pytest.mark.parametrize(
    ("service", "name", "title"),
    [
        ("orders", "orders", ""),
        ("orders.Orders", "orders", "Orders"),
        ("shop.orders", "shop.orders", ""),
        ("shop.orders.Orders", "shop.orders", "Orders"),
        ("Orders", "Orders", ""),
    ],
)
def test_titles(service, name, title):
    """Of a service's name in full the title is what begins with a capital: names and packages may have points."""
    assert apart(service) == (name, title)


def test_what_developers_are_given(tmp_path, monkeypatch):
    """No limit of requests is in a developer's way, unless the environment or the application's own files set one."""
    for name in ("DEBUG", "LOG_FORMAT", "DOCS_PUBLIC", "RATE_LIMIT_DEFAULT"):
        monkeypatch.delenv(name, raising=False)
    entry = AppEntry("a", "a:app", tmp_path, (tmp_path,))
    assert usual(entry)["RATE_LIMIT_DEFAULT"] == "off"
    (tmp_path / ".env").write_text("RATE_LIMIT_DEFAULT=60/minute\n")
    (tmp_path / "headgate.toml").write_text("debug = false\n")
    assert set(usual(entry)) == {"LOG_FORMAT", "DOCS_PUBLIC"}
    monkeypatch.setenv("LOG_FORMAT", "console")
    assert set(usual(entry)) == {"DOCS_PUBLIC"}
