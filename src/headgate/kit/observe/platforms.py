"""Where spans go: the platform the process runs on, or the collector it is told of.

    destination = make_destination(os.environ, "http://127.0.0.1:4318", "http/protobuf")     # None: nowhere

Google Cloud, AWS and Azure are known by variables of theirs. Exporters are imported when they are needed;
one that is not installed is one warning, which names the extra, and the collector is used instead, if any.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

import structlog

Platform = Literal["gcp", "aws", "azure", ""]

_YES: Final = frozenset(("1", "true", "yes"))
_DISABLED: Final = "GENKIT_TELEMETRY_DISABLED"
_WANTS_GCP: Final = ("HEADGATE_TELEMETRY_GCP", "GENKIT_TELEMETRY_GCP")
_LOCAL_COLLECTOR: Final = "http://127.0.0.1:4318"
_TRACES_PATH: Final = "/v1/traces"
_log = structlog.get_logger("headgate.traces")


@dataclass(frozen=True, slots=True)
class Destination:
    """An exporter, and what makes ids where the platform has a form of its own for them."""

    exporter: Any
    ids: Any = None


def detect_platform(environment: Mapping[str, str]) -> Platform:
    """The platform whose variables are set; "" for none."""
    has = environment.get
    if has("K_SERVICE") or has("GCE_METADATA_HOST"):
        return "gcp"
    if has("GOOGLE_CLOUD_PROJECT") and any(map(has, _WANTS_GCP)):
        return "gcp"
    if has("AWS_EXECUTION_ENV") or has("ECS_CONTAINER_METADATA_URI"):
        return "aws"
    if has("CONTAINER_APP_NAME") or has("WEBSITE_SITE_NAME"):
        return "azure"
    return ""


def telemetry_disabled(environment: Mapping[str, str]) -> bool:
    """Whether a variable says that there is to be none."""
    return environment.get(_DISABLED, "").lower() in _YES


def make_destination(environment: Mapping[str, str], endpoint: str, protocol: str) -> Destination | None:
    """Where spans go; None when they have nowhere to go, or what that needs is not installed."""
    platform = detect_platform(environment)
    if platform:
        try:
            return _PLATFORMS[platform](environment, endpoint, protocol)
        except ImportError as error:
            _log.warning(
                "no exporter for this platform is installed",
                platform=platform,
                missing=error.name,
                hint=f"pip install {_PACKAGES[platform]}",
            )
        except Exception as error:  # noqa: BLE001 - whatever the platform's library says, the service starts
            _log.warning("the platform's exporter cannot be used", platform=platform, reason=str(error))
    if not endpoint:
        return None
    try:
        return Destination(_otlp(endpoint, protocol))
    except ImportError as error:
        _log.warning("traces are off", missing=error.name, hint='pip install "headgate[otel]"')
        return None


def _gcp(_environment: Mapping[str, str], _endpoint: str, _protocol: str) -> Destination:
    return Destination(_imported("opentelemetry.exporter.cloud_trace", "CloudTraceSpanExporter")())


def _aws(_environment: Mapping[str, str], endpoint: str, protocol: str) -> Destination:
    """X-Ray reads OTLP from a collector beside the service, and wants the time in its ids."""
    ids = _imported("opentelemetry.sdk.extension.aws.trace", "AwsXRayIdGenerator")
    return Destination(_otlp(endpoint or _LOCAL_COLLECTOR, protocol), ids())


def _azure(environment: Mapping[str, str], _endpoint: str, _protocol: str) -> Destination:
    exporter = _imported("azure.monitor.opentelemetry.exporter", "AzureMonitorTraceExporter")
    return Destination(exporter(connection_string=environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING")))


def _otlp(endpoint: str, protocol: str) -> Any:
    if protocol == "grpc":
        try:
            over_grpc = _imported("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter")
        except ImportError:
            _log.warning("the gRPC exporter is not installed, traces go over HTTP", hint="the collector's HTTP port")
        else:
            return over_grpc(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
    over_http = _imported("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter")
    whole = endpoint if endpoint.endswith(_TRACES_PATH) else endpoint.rstrip("/") + _TRACES_PATH
    return over_http(endpoint=whole)


def _imported(module: str, name: str) -> Any:
    """A class of an exporter that may not be installed; then ImportError."""
    return getattr(import_module(module), name)


_PACKAGES: Final = {
    "gcp": "opentelemetry-exporter-gcp-trace",
    "aws": "opentelemetry-sdk-extension-aws",
    "azure": "azure-monitor-opentelemetry-exporter",
}
_PLATFORMS: Final = {"gcp": _gcp, "aws": _aws, "azure": _azure}
