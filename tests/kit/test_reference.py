"""Reference pages: what is found in the code, and how it is told."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr

from headgate.kit.hardening import HardeningSettings
from headgate.kit.observe.metrics import Metrics
from headgate.kit.profile import RULES
from headgate.kit.reference import (
    CodeUse,
    codes_in,
    controls_page,
    errors_page,
    fault_kinds,
    kit_settings_page,
    listed,
    metrics_page,
    registry_of_kit,
    settings_page,
)
from headgate.kit.settings import Settings

SOURCE = """
from headgate.kit.controls import faults
from headgate.kit.controls.faults import Aborted, Fault, NotFound, InvalidArgument

def plain():
    raise NotFound("x", code="no_shelf")

def either(wanted):
    raise faults.Aborted("x", code="too_early" if wanted else "too_late")

class Shelf:
    def refuse(self, message, code="unused", *, hint=""):
        return InvalidArgument(message, code=code, hint=hint)

    def put(self):
        raise self.refuse("x", "too_heavy")

def named(*, code):
    raise Aborted("x", code=code or "x")

def others():
    named(code="by_name")
    print(code="not_ours")
    raise NotFound("no code of its own")
"""


class Shop(Settings):
    """Settings of a shop."""

    port: Annotated[int, Field(ge=1, le=9)] = 8
    """Port,
    of the shop."""
    open: bool = True
    """Whether it is."""
    mode: Literal["a", "b"] = "a"
    """a|b."""
    key: SecretStr | None = None
    """Opens the till."""
    host: str = Field(default_factory=lambda: "h", json_schema_extra={"default_text": "HOST"})
    """Where."""


@pytest.fixture
def package(tmp_path):
    """A package with one file in a room."""
    (tmp_path / "shop" / "core").mkdir(parents=True)
    (tmp_path / "shop" / "core" / "shelves.py").write_text(SOURCE)
    return tmp_path


def test_codes_are_found(package):
    """Constants given to a fault, directly or through a function that makes one, are its codes."""
    found = {use for use in codes_in(package) if use.room != "everywhere"}
    assert found == {
        CodeUse("no_shelf", "NotFound", "shop.core"),
        CodeUse("too_early", "Aborted", "shop.core"),
        CodeUse("too_late", "Aborted", "shop.core"),
        CodeUse("too_heavy", "InvalidArgument", "shop.core"),
        CodeUse("by_name", "Aborted", "shop.core"),
    }


def test_the_errors_page(package):
    """Each kind has its two statuses, each code its status and its room."""
    page = errors_page(package)
    assert "| `Aborted` | `aborted` | 409 | 10 `ABORTED` | Somebody else was faster; read again and retry. |\n" in page
    assert "| `too_heavy` | 400 | `InvalidArgument` | shop.core |\n" in page
    assert "| `method_not_allowed` | 405 | (HTTP) | kit.asgi |\n" in page


def test_kinds_are_numbered_as_grpc_does():
    """The order of the kinds is that of gRPC's status codes."""
    grpc = pytest.importorskip("grpc")
    numbers = {status.name: status.value[0] for status in grpc.StatusCode}
    assert [numbers[kind.kind] for kind in fault_kinds()] == list(range(1, 17))


def test_the_settings_page():
    """Each setting has its variable, its flag unless it is secret, its default, its values and its sentence."""
    page = settings_page([("The shop", Shop)])
    assert "## The shop\n" in page
    for row in (
        "| `port` | `HEADGATE_PORT`<br>`--port` | `8` | a whole number from 1 to 9 | Port, of the shop. |",
        "| `open` | `HEADGATE_OPEN`<br>`--open` | `true` | true or false | Whether it is. |",
        "| `mode` | `HEADGATE_MODE`<br>`--mode` | `a` | one of a, b | a\\|b. |",
        "| `key` | `HEADGATE_KEY` | (not set) | text | Opens the till. |",
        "| `host` | `HEADGATE_HOST`<br>`--host` | `HOST` | text | Where. |",
    ):
        assert row in page


def test_the_page_of_the_kit_has_every_knob():
    """Each knob is on it once, by its group, with its variable and its flag; that of a secret names a file."""
    page = kit_settings_page()
    for name in HardeningSettings.model_fields:
        assert page.count(f"\n| `{name}` | `{name.upper()}`<br>`--") == 1
    assert page.index("`headgate.kit.hardening.WebSettings`") < page.index("| `trusted_hosts` |")
    assert "| `API_KEY`<br>`--api-key-file` |" in page


def test_the_page_of_the_kit_tells_what_is_refused():
    """Every rule about unsafe settings stands with the settings it concerns, and nowhere else."""
    page = kit_settings_page()
    assert "Never in production.<br>**Refused in production**: `true`. |" in page
    assert page.count("<br>**Refused") + page.count("<br>**Warning") == sum(len(rule.settings) for rule in RULES)


def test_every_control_is_listed():
    """Each control of the table is listed in its order, with what it does, where, and which settings change it."""
    found = {each.name: each for each in listed()}
    assert list(found)[:4] == ["measure", "request_ids", "proxies", "trace"]
    assert found["deadline"].phases == ("identify",)
    assert found["deadline"].settings == (
        "request_timeout",
        "idle_timeout",
        "total_timeout",
        "untimed_paths",
        "timeout_header",
    )
    assert found["probes"].protocols == {"http"}
    assert found["access_log"].settings == ("redact_names", "redact_patterns", "access_log")
    assert all(each.does.endswith(".") for each in listed())


def test_the_page_of_controls():
    """Each row has its number, name, sentence, phases, protocols and settings."""
    does = "The client behind trusted proxies: its address and whether it came by HTTPS."
    protocols = "connect, grpc, grpc-web, http, websocket"
    row = f"| 3 | `proxies` | {does} | identify | {protocols} | `trusted_proxies`, `forwarded_header` |"
    assert row in controls_page()


def test_the_page_of_metrics():
    """Each metric has its exposed name, kind, labels and sentence; those of the process itself are left out."""
    page = metrics_page([("The kit", registry_of_kit())])
    labels = "`protocol`, `route`, `method`, `status`, `code`"
    assert f"| `headgate_requests_total` | counter | {labels} | Calls answered. |" in page
    assert "| `headgate_breaker_state` | gauge | `target` |" in page
    assert "| `headgate_request_duration_seconds` | histogram |" in page
    assert "python_info" not in page


def test_the_page_of_metrics_is_whole():
    """What a kit exposes is on the page."""
    page = metrics_page([("The kit", registry_of_kit())])
    exposed = {
        line.split()[2] for line in Metrics().render().decode().splitlines() if line.startswith("# TYPE headgate")
    }
    assert {name for name in exposed if not name.endswith("_created") and f"`{name}`" not in page} == set()
