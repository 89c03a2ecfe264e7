"""The parts of a kit, made out of settings: where limits, audit records, spans, errors and texts go."""

from headgate import __version__
from headgate.kit import policies
from headgate.kit.controls.rate import Store
from headgate.kit.hardening import LimitSettings, ObserveSettings, SafetySettings
from headgate.kit.limits.limiter import open_store
from headgate.kit.observe.audit import AuditLog
from headgate.kit.observe.audit_sinks import open_sink
from headgate.kit.observe.logs import configure_logs
from headgate.kit.observe.metrics import Metrics
from headgate.kit.observe.sentry import setup_sentry
from headgate.kit.observe.traces import Traces, setup_traces
from headgate.kit.safety.configure import gate_from
from headgate.kit.safety.gate import Gate
from headgate.kit.settings import Settings


def open_logs(settings: Settings) -> None:
    """Send the logs of this process where the settings say."""
    if isinstance(settings, ObserveSettings):
        configure_logs(
            settings.log_level,
            settings.log_format,
            buffer_bytes=settings.log_buffer,
            redactor=policies.redactor(settings),
        )


def open_metrics(settings: Settings) -> Metrics:
    """The metrics of this process."""
    most = settings.metrics_max_series if isinstance(settings, ObserveSettings) else 2_000
    return Metrics(most_series=most)


def open_limits(settings: Settings, metrics: Metrics) -> Store:
    """Where budgets are counted. Nothing is connected yet."""
    if not isinstance(settings, LimitSettings):
        return open_store()
    url = settings.rate_limit_redis_url
    return open_store(
        url.get_secret_value() if url else "",
        store_down=settings.rate_limit_store_down,
        timeout=settings.rate_limit_store_timeout,
        max_keys=settings.rate_limit_max_keys,
        observer=metrics.limiter_store,
    )


def open_audit(settings: Settings, metrics: Metrics) -> AuditLog | None:
    """The audit log; None when it is off. Raises what `open_sink` does."""
    if not isinstance(settings, ObserveSettings) or settings.audit_log == "off":
        return None
    return AuditLog(
        open_sink(settings.audit_log, app=settings.otel_service_name, fsync=settings.audit_fsync),
        service=settings.otel_service_name,
        version=__version__,
        chain=settings.audit_hash_chain,
        key=settings.audit_hash_key.get_secret_value().encode() if settings.audit_hash_key else b"",
        told=metrics.audit_records,
        mask=policies.redactor(settings).value,
    )


def open_traces(settings: Settings) -> Traces | None:
    """Spans, and errors to Sentry; None where spans have nowhere to go."""
    if not isinstance(settings, ObserveSettings):
        return None
    setup_sentry(
        dsn=settings.sentry_dsn.get_secret_value() if settings.sentry_dsn else "",
        environment=settings.sentry_environment,
        traces_sample_rate=settings.sentry_traces_sample_rate,
        mask=policies.redactor(settings).value,
    )
    return setup_traces(
        disabled=settings.telemetry_disabled,
        service_name=settings.otel_service_name,
        endpoint=settings.otel_exporter_otlp_endpoint,
        protocol=settings.otel_exporter_otlp_protocol,
        sample_rate=settings.otel_traces_sample_rate,
    )


def open_gate(settings: Settings, metrics: Metrics) -> Gate | None:
    """The content gate; None without scorers. Raises what `gate_from` does."""
    return gate_from(settings, observer=metrics.safety) if isinstance(settings, SafetySettings) else None
