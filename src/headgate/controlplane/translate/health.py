"""Health: active checks and outlier detection. Source: envoy.config.core.v3.HealthCheck, OutlierDetection."""

from headgate.controlplane.model.cluster import Cluster, HealthCheck, HttpHealthCheck, OutlierDetection
from headgate.controlplane.translate.wire import Shape, duration, value


def health_check(name: str, cluster: Cluster, check: HealthCheck) -> Shape:
    """Return one active check of the cluster `name`."""
    shape: Shape = {
        "timeout": duration(check.timeout_ms),
        "interval": duration(check.interval_ms),
        # Envoy checks an idle cluster once a minute unless told: the interval asked for holds from the start.
        "no_traffic_interval": duration(check.interval_ms),
        "healthy_threshold": value(check.healthy_threshold),
        "unhealthy_threshold": value(check.unhealthy_threshold),
    }
    if cluster.protocol == "auto":
        shape["tls_options"] = {"alpn_protocols": ["http/1.1"]}
    if check.http:
        shape["http_health_check"] = _http(name, cluster, check.http)
    elif check.tcp:
        shape["tcp_health_check"] = {"receive": [{"text": text} for text in check.tcp.receive]}
        if check.tcp.send:
            shape["tcp_health_check"]["send"] = {"text": check.tcp.send}
    elif check.grpc:
        shape["grpc_health_check"] = {
            "service_name": check.grpc.service,
            "authority": check.grpc.authority or name,
        }
    return shape


def _http(name: str, cluster: Cluster, http: HttpHealthCheck) -> Shape:
    return {
        "host": http.host or name,
        "path": http.path,
        "method": http.method,
        "codec_client_type": "HTTP2" if cluster.protocol == "http2" else "HTTP1",
        "expected_statuses": [{"start": status.start, "end": status.end + 1} for status in http.expected_statuses],
    }


def outlier_detection(spec: OutlierDetection) -> Shape:
    """Return the detection; what is off is not enforced."""
    return {
        "consecutive_5xx": value(spec.consecutive_5xx),
        "enforcing_consecutive_5xx": value(100 if spec.consecutive_5xx else 0),
        "consecutive_gateway_failure": value(spec.consecutive_gateway_failure),
        "enforcing_consecutive_gateway_failure": value(100 if spec.consecutive_gateway_failure else 0),
        "enforcing_success_rate": value(100 if spec.success_rate else 0),
        "interval": duration(spec.interval_ms),
        "base_ejection_time": duration(spec.base_ejection_ms),
        "max_ejection_time": duration(spec.max_ejection_ms),
        "max_ejection_percent": value(spec.max_ejection_percent),
    }
