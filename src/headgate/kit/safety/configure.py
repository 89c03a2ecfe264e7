"""A gate, and what goes round applications, out of settings.

gate = gate_from(settings)                     # None when no scorer is named
app = content_safety(app, settings, gate)      # the same application when there is no gate
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import SecretStr
from starlette.types import ASGIApp

from headgate.kit.controls.faults import InvalidArgument, Unavailable
from headgate.kit.controls.validation import did_you_mean
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.judgement import Action, Observer, OnError, Scorer
from headgate.kit.safety.remote import Token

if TYPE_CHECKING:
    from headgate.kit.safety.grpc import ContentInterceptor


class FilterSettings(Protocol):
    """The settings of the content filter. Pairs are `name=number`."""

    @property
    def content_filter_scorers(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_threshold(self) -> float: ...  # noqa: D102
    @property
    def content_filter_thresholds(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_action(self) -> Action: ...  # noqa: D102
    @property
    def content_filter_on_error(self) -> OnError: ...  # noqa: D102
    @property
    def content_filter_timeout(self) -> float: ...  # noqa: D102
    @property
    def content_filter_window(self) -> int: ...  # noqa: D102
    @property
    def content_filter_marker(self) -> str: ...  # noqa: D102
    @property
    def content_filter_sides(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_methods(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_paths(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_pointers(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_text_at(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_buffer(self) -> int: ...  # noqa: D102
    @property
    def content_filter_model(self) -> str: ...  # noqa: D102
    @property
    def content_filter_labels(self) -> str: ...  # noqa: D102
    @property
    def content_filter_checks_project(self) -> str: ...  # noqa: D102
    @property
    def content_filter_checks_policies(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def content_filter_checks_token_file(self) -> str: ...  # noqa: D102
    @property
    def content_filter_perspective_key(self) -> SecretStr | None: ...  # noqa: D102
    @property
    def content_filter_moderation_url(self) -> str: ...  # noqa: D102
    @property
    def content_filter_moderation_key(self) -> SecretStr | None: ...  # noqa: D102
    @property
    def content_filter_moderation_model(self) -> str: ...  # noqa: D102


def gate_from(
    settings: FilterSettings,
    *,
    token: Token | None = None,
    observer: Observer | None = None,
    more: Sequence[Scorer] = (),
) -> Gate | None:
    """The gate that `settings` describe, with `more` scorers of one's own; None when there is no scorer.

    `token` gives Google Checks its access token, in place of the file in the settings. Raises InvalidArgument
    (`invalid_content_gate`, `invalid_safety_model`), FailedPrecondition (`extra_missing`).
    """
    names = [name.strip().lower() for name in settings.content_filter_scorers if name.strip()]
    scorers = [*(_scorer(name, settings, token) for name in names), *more]
    if not scorers:
        return None
    return Gate(
        scorers,
        threshold=settings.content_filter_threshold,
        thresholds={
            name.lower(): number for name, number in _pairs("thresholds", settings.content_filter_thresholds).items()
        },
        action=settings.content_filter_action,
        on_error=settings.content_filter_on_error,
        timeout=settings.content_filter_timeout,
        hold_back=settings.content_filter_window,
        marker=settings.content_filter_marker,
        observer=observer,
    )


def content_safety(app: ASGIApp, settings: FilterSettings, gate: Gate | None) -> ASGIApp:
    """`app` with the gate around it, on the sides, methods and paths of `settings`."""
    if gate is None:
        return app
    from headgate.kit.safety.asgi import ContentSafety
    from headgate.kit.safety.sse import TEXT_AT

    sides = _sides(settings)
    return ContentSafety(
        app,
        input_gate=gate if "input" in sides else None,
        output_gate=gate if "output" in sides else None,
        methods=settings.content_filter_methods,
        paths=settings.content_filter_paths,
        pointers=settings.content_filter_pointers,
        text_at=settings.content_filter_text_at or TEXT_AT,
        buffer=settings.content_filter_buffer,
    )


def content_interceptor(settings: FilterSettings, gate: Gate) -> "ContentInterceptor":
    """The interceptor with the gate, on the sides of `settings`. Raises FailedPrecondition without grpcio."""
    from headgate.kit.safety.grpc import TEXT_AT, ContentInterceptor

    sides = _sides(settings)
    names = [pointer.removeprefix("/") for pointer in settings.content_filter_text_at]
    return ContentInterceptor(
        input_gate=gate if "input" in sides else None,
        output_gate=gate if "output" in sides else None,
        # Messages have their running text in a field of their own.
        text_at=[name for name in names if name and "/" not in name] or TEXT_AT,
        buffer=settings.content_filter_buffer,
    )


def _sides(settings: FilterSettings) -> frozenset[str]:
    sides = frozenset(side.strip().lower() for side in settings.content_filter_sides)
    if not sides or sides - {"input", "output"}:
        raise _wrong("the sides are input, output or both")
    return sides


def _scorer(name: str, settings: FilterSettings, token: Token | None) -> Scorer:
    make = _SCORERS.get(name)
    if make is None:
        raise _wrong(f"there is no scorer '{name}'", hint=did_you_mean(name, list(_SCORERS)))
    return make(settings, token)


def _builtin(_settings: FilterSettings, _token: Token | None) -> Scorer:
    from headgate.kit.safety.builtin import BuiltinScorer

    return BuiltinScorer()


def _patterns(_settings: FilterSettings, _token: Token | None) -> Scorer:
    from headgate.kit.safety.patterns import PatternScorer

    return PatternScorer()


def _model(settings: FilterSettings) -> tuple[Path, Path]:
    if not settings.content_filter_model or not settings.content_filter_labels:
        raise _wrong("a model needs content_filter_model and content_filter_labels")
    return Path(settings.content_filter_model), Path(settings.content_filter_labels)


def _tflite(settings: FilterSettings, _token: Token | None) -> Scorer:
    from headgate.kit.safety.tflite import TfliteScorer

    return TfliteScorer(*_model(settings))


def _saved_model(settings: FilterSettings, _token: Token | None) -> Scorer:
    from headgate.kit.safety.saved_model import SavedModelScorer

    return SavedModelScorer(*_model(settings))


def _checks(settings: FilterSettings, token: Token | None) -> Scorer:
    from headgate.kit.safety.checks import POLICIES, ChecksScorer

    file = settings.content_filter_checks_token_file
    if token is None and not file:
        raise _wrong("Google Checks needs an access token: set content_filter_checks_token_file")
    return ChecksScorer(
        settings.content_filter_checks_project,
        token=token or token_file(Path(file)),
        policies=_policies(settings.content_filter_checks_policies) or POLICIES,
        timeout=settings.content_filter_timeout,
    )


def _policies(given: Sequence[str]) -> dict[str, float | None]:
    """Policies with their thresholds, or without."""
    plain: dict[str, float | None] = {each.strip().upper(): None for each in given if "=" not in each}
    pairs = _pairs("checks_policies", [each for each in given if "=" in each])
    return plain | {name.upper(): number for name, number in pairs.items()}


def _perspective(settings: FilterSettings, _token: Token | None) -> Scorer:
    from headgate.kit.safety.perspective import PerspectiveScorer

    return PerspectiveScorer(
        key=_secret(settings.content_filter_perspective_key), timeout=settings.content_filter_timeout
    )


def _moderation(settings: FilterSettings, _token: Token | None) -> Scorer:
    from headgate.kit.safety.moderation import ModerationScorer

    return ModerationScorer(
        settings.content_filter_moderation_url,
        key=_secret(settings.content_filter_moderation_key),
        model=settings.content_filter_moderation_model,
        timeout=settings.content_filter_timeout,
    )


_SCORERS: Final[Mapping[str, Callable[[FilterSettings, Token | None], Scorer]]] = {
    "builtin": _builtin,
    "patterns": _patterns,
    "tflite": _tflite,
    "saved_model": _saved_model,
    "checks": _checks,
    "perspective": _perspective,
    "moderation": _moderation,
}


def token_file(file: Path) -> Token:
    """Reads the access token from a file each time, as whatever renews it writes it there."""

    def read() -> str:
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise Unavailable("the access token cannot be read", code="scorer_failed") from None

    return read


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""


def _pairs(name: str, pairs: Sequence[str]) -> dict[str, float]:
    found = {}
    for pair in pairs:
        key, _, number = pair.partition("=")
        try:
            found[key.strip()] = float(number)
        except ValueError:
            raise _wrong(f"content_filter_{name} holds '{pair}', not name=number") from None
    return found


def _wrong(reason: str, *, hint: str = "") -> InvalidArgument:
    return InvalidArgument(f"the content gate is misconfigured: {reason}", code="invalid_content_gate", hint=hint)
