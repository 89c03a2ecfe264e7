"""New projects, as texts."""

import subprocess
import sys

import pytest
import yaml

from headgate.kit.controls.faults import AlreadyExists, InvalidArgument
from headgate.service.generate import TEMPLATE_NAMES
from headgate.service.generate.names import LONGEST, names_of
from headgate.service.generate.project import TEMPLATES, imported, project, render, write

LONG = "a" * (LONGEST // 2) + "-" + "b" * (LONGEST - LONGEST // 2 - 1)


@pytest.mark.parametrize("name", ["hello", "zulu-9", "greeting", LONG])
@pytest.mark.parametrize("template", TEMPLATE_NAMES)
def test_is_clean(tmp_path, name, template):
    """Whatever its name, a new project has nothing that ruff would find or format."""
    write(project(name, template=template), tmp_path)
    for arguments in (("check", "--no-cache", "."), ("format", "--check", "--no-cache", ".")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_templates_are_named():
    """The command line offers exactly the templates there are."""
    assert tuple(TEMPLATES) == TEMPLATE_NAMES


@pytest.mark.parametrize("template", TEMPLATE_NAMES)
def test_declarations_can_be_read(template):
    """What is no template of another tool is the YAML and TOML it says it is."""
    import tomllib

    texts = project("hello", template=template)
    assert tomllib.loads(texts["pyproject.toml"])["project"]["name"] == "hello"
    for path in ("chart/Chart.yaml", "chart/values.yaml", "chart/templates/serviceaccount.yaml"):
        assert yaml.safe_load(texts[path].replace("{{ .Chart.Name }}", "hello"))


def test_chart_reads_no_more_than_the_registry_needs():
    """The role of the chart is that of the Kubernetes registry: services and endpoint slices, read only."""
    from headgate.service.generate.project import project as made

    role = made("hello")["chart/templates/role.yaml"].replace("{{ .Chart.Name }}", "hello")
    rules = yaml.safe_load(role)["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert {each for rule in rules for each in rule["resources"]} == {"services", "endpointslices"}


def test_settings_of_the_chart_are_settings():
    """Every variable the chart sets is a setting of an application."""
    import re

    from headgate.kit.settings import variable_of
    from headgate.service.settings import ServiceSettings

    known = {variable_of(name, ServiceSettings) for name in ServiceSettings.model_fields}
    chart = project("hello")["chart/templates/deployment.yaml"]
    named = re.findall(r"\{name: ([A-Z_]+), value", chart)
    assert named
    assert set(named) <= known


def test_nothing_is_overwritten(tmp_path):
    """One file that is there keeps all from being written."""
    (tmp_path / "b").write_text("mine")
    with pytest.raises(AlreadyExists) as refused:
        write({"a": "1", "b": "2"}, tmp_path)
    assert refused.value.code == "file_exists"
    assert [each.name for each in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("name", "package", "title"),
    [
        ("hello", "hello", "Hello"),
        ("shop-orders", "shop_orders", "ShopOrders"),
        ("greeting", "greeting", "GreetingService"),
    ],
)
def test_names(name, package, title):
    """Package and class follow from the name; a class does not hide what the module uses."""
    found = names_of(name)
    assert (found.package, found.title) == (package, title)


@pytest.mark.parametrize(
    "name", ["", "Hello", "1st", "a--b", "a_b", "-a", "match", "asyncio", "headgate", "x" * 41, "é"]
)
def test_bad_names(name):
    """What is no name of a module and a service is refused."""
    with pytest.raises(InvalidArgument) as refused:
        names_of(name)
    assert refused.value.code == "invalid_project_name"


def test_unknown_template():
    """A template that there is not is refused with those there are."""
    with pytest.raises(InvalidArgument) as refused:
        project("hello", template="nope")
    assert refused.value.hint == "service, worker, full"


@pytest.mark.parametrize("description", ['a "quote"', "two\nlines", "a \\ b"])
def test_description_is_one_line(description):
    """A description that would break out of its place is refused."""
    with pytest.raises(InvalidArgument):
        project("hello", description=description)


def test_unknown_name_in_a_template():
    """A name that a template asks for and nobody gives is an error, not an empty text."""
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("<< nobody >>", {})


def test_imports_are_in_ruffs_order():
    """Constants come before classes and classes before functions, numbers as numbers."""
    assert imported(["rpc", "Order10", "Order2", "PAID", "on"]) == "PAID, Order2, Order10, on, rpc"
