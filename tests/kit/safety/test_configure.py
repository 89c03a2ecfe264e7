"""A gate out of settings."""

import asyncio
import warnings
from dataclasses import dataclass, field

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from headgate.kit.controls.faults import InvalidArgument, PermissionDenied, Unavailable
from headgate.kit.safety.configure import content_interceptor, content_safety, gate_from, token_file
from tests.kit.safety import fakes
from tests.kit.safety.conftest import Words


@dataclass
class Settings:
    """The settings of the filter with their defaults."""

    content_filter_scorers: tuple[str, ...] = ()
    content_filter_threshold: float = 0.8
    content_filter_thresholds: tuple[str, ...] = ()
    content_filter_action: str = "block"
    content_filter_on_error: str = "closed"
    content_filter_timeout: float = 5.0
    content_filter_window: int = 400
    content_filter_marker: str = "[removed]"
    content_filter_sides: tuple[str, ...] = ("input", "output")
    content_filter_methods: tuple[str, ...] = ("POST", "PUT", "PATCH")
    content_filter_paths: tuple[str, ...] = ("/",)
    content_filter_pointers: tuple[str, ...] = ()
    content_filter_text_at: tuple[str, ...] = ()
    content_filter_buffer: int = 1024 * 1024
    content_filter_model: str = ""
    content_filter_labels: str = ""
    content_filter_checks_project: str = ""
    content_filter_checks_policies: tuple[str, ...] = ()
    content_filter_checks_token_file: str = ""
    content_filter_perspective_key: SecretStr | None = None
    content_filter_moderation_url: str = ""
    content_filter_moderation_key: SecretStr | None = field(default=None)
    content_filter_moderation_model: str = ""


def test_no_scorer_is_no_gate():
    """Without a scorer there is no gate, and the application stays as it is."""
    settings, app = Settings(), Starlette()
    assert gate_from(settings) is None
    assert content_safety(app, settings, None) is app


async def test_the_settings_of_the_gate_take_effect():
    """Threshold, thresholds, action, marker, window and policy on errors are those of the settings."""
    gate = gate_from(
        Settings(
            content_filter_scorers=("builtin", "patterns"),
            content_filter_threshold=0.9,
            content_filter_thresholds=("Profanity=0.99", "pii=1"),
            content_filter_action="redact",
            content_filter_on_error="open",
            content_filter_window=100,
            content_filter_marker="(cut)",
        )
    )
    assert (gate.threshold, gate.thresholds) == (0.9, {"profanity": 0.99, "pii": 1.0})
    assert (gate.action, gate.on_error, gate.hold_back) == ("redact", "open", 100)
    assert (await gate.check_output("Well. Mail ann@example.com now.")).text == "Well. (cut)"


async def test_scorers_of_ones_own_come_along():
    """Scorers given in code stand beside those of the settings."""
    gate = gate_from(Settings(), more=[Words("badger")])
    with pytest.raises(PermissionDenied):
        await gate.check_input("a badger")


def test_services_are_asked_with_the_settings(tmp_path):
    """Google Checks, Perspective and moderation endpoints get their project, keys, policies and tokens."""
    (tmp_path / "token").write_text("ya29.token\n")
    settings = Settings(
        content_filter_scorers=("checks", "perspective", "moderation"),
        content_filter_checks_project="my-project",
        content_filter_checks_policies=("harassment=0.6", "HATE_SPEECH"),
        content_filter_checks_token_file=str(tmp_path / "token"),
        content_filter_perspective_key=SecretStr(fakes.Perspective.key),
        content_filter_moderation_key=SecretStr(fakes.Moderation.key),
        content_filter_moderation_model="tiny",
    )
    with fakes.serving(fakes.Checks()) as checks, fakes.serving(fakes.Perspective()) as perspective:
        with fakes.serving(fakes.Moderation()) as moderation:
            settings.content_filter_moderation_url = f"{moderation.url}/v1"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                gate = gate_from(settings)
            for scorer, service in zip(gate._panel.scorers, (checks, perspective, moderation), strict=True):
                path = scorer._remote._url.partition(".com")[2] or "/v1/moderations"
                scorer._remote._url = service.url + path
            with pytest.raises(PermissionDenied) as refused:
                asyncio.run(gate.check_input("a badger"))
        assert "hate_speech" in refused.value.message
        assert checks.seen[0]["policies"] == [
            {"policy_type": "HATE_SPEECH"},
            {"policy_type": "HARASSMENT", "threshold": 0.6},
        ]
        assert moderation.seen[0]["model"] == "tiny"


def test_a_token_file_is_read_each_time(tmp_path):
    """A token that is renewed in its file is used; a file that cannot be read is a failure of the scorer."""
    file = tmp_path / "token"
    token = token_file(file)
    for value in ("one", "two"):
        file.write_text(f"{value}\n")
        assert token() == value
    file.unlink()
    with pytest.raises(Unavailable):
        token()


def test_models_need_their_files(tmp_path):
    """A model is loaded from the file of the settings, with its labels."""
    pytest.importorskip("ai_edge_litert")
    from headgate.kit.safety import export

    export.main([str(tmp_path / "m.tflite"), str(tmp_path / "l.txt"), "--size", "4096"])
    gate = gate_from(
        Settings(
            content_filter_scorers=("tflite",),
            content_filter_model=str(tmp_path / "m.tflite"),
            content_filter_labels=str(tmp_path / "l.txt"),
        )
    )
    assert asyncio.run(gate.judge("how are you")).verdict == "pass"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"content_filter_scorers": ("bultin",)}, "no scorer 'bultin'"),
        ({"content_filter_scorers": ("tflite",)}, "content_filter_model"),
        ({"content_filter_scorers": ("saved_model",)}, "content_filter_model"),
        ({"content_filter_scorers": ("checks",)}, "token"),
        ({"content_filter_scorers": ("moderation",)}, "address"),
        ({"content_filter_scorers": ("perspective",)}, "key"),
        ({"content_filter_scorers": ("builtin",), "content_filter_thresholds": ("sexual",)}, "name=number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    """What is missing or unknown is refused by name as the gate is made."""
    with pytest.raises(InvalidArgument, match=says):
        gate_from(Settings(**wrong))


@pytest.mark.parametrize(("sides", "status"), [(("input",), 403), (("output",), 403), (("input", "output"), 403)])
async def test_sides_paths_and_methods_take_effect(sides, status):
    """The gate stands on the chosen sides, before the chosen paths and methods only."""

    async def echo(request: Request):
        return PlainTextResponse(await request.body())

    app = Starlette(routes=[Route("/flows", echo, methods=["POST", "PUT"]), Route("/other", echo, methods=["POST"])])
    settings = Settings(content_filter_sides=sides, content_filter_paths=("/flows",), content_filter_methods=("POST",))
    gate = gate_from(settings, more=[Words("badger")])
    wrapped = content_safety(app, settings, gate)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://test") as http:
        with pytest.raises(PermissionDenied):
            await http.post("/flows", content=b"badger")
        assert (await http.put("/flows", content=b"badger")).status_code == 200
        assert (await http.post("/other", content=b"badger")).status_code == 200


def test_sides_that_are_none_are_refused():
    """A gate on no side, or on one that is not there, is refused."""
    gate = gate_from(Settings(), more=[Words("badger")])
    for sides in ((), ("inside",)):
        with pytest.raises(InvalidArgument, match="sides"):
            content_safety(Starlette(), Settings(content_filter_sides=sides), gate)


def test_the_interceptor_of_the_settings():
    """The interceptor has the gate on the sides of the settings."""
    pytest.importorskip("grpc")
    gate = gate_from(Settings(), more=[Words("badger")])
    made = content_interceptor(Settings(content_filter_sides=("output",)), gate)
    assert (made._wrap._input, made._wrap._output) == (None, gate)
    assert made._wrap._text_at == ("chunk", "text", "delta", "content", "message")
    made = content_interceptor(Settings(content_filter_text_at=("/said", "/deep/down")), gate)
    assert made._wrap._text_at == ("said",)
