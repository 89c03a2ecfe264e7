"""Access logs: a line per request or connection. Source: envoy.extensions.access_loggers."""

from collections.abc import Mapping
from typing import Literal

from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog

from headgate.controlplane.model.listener import AccessLog
from headgate.controlplane.translate.wire import Shape, extension

HTTP_FIELDS: Mapping[str, str] = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    # Without the query: it may hold what must not be logged.
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": "%REQ(USER-AGENT)%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
}

TCP_FIELDS: Mapping[str, str] = {
    "time": "%START_TIME%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "server_name": "%REQUESTED_SERVER_NAME%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
}


def access_log(log: AccessLog, kind: Literal["http", "tcp"]) -> Shape:
    """Translate an access log of a chain that speaks `kind`."""
    form = _format(log, kind)
    if log.destination == "file":
        return extension("envoy.access_loggers.file", FileAccessLog(path=log.path, log_format=form))
    if log.destination == "stderr":
        return extension("envoy.access_loggers.stderr", StderrAccessLog(log_format=form))
    return extension("envoy.access_loggers.stdout", StdoutAccessLog(log_format=form))


def _format(log: AccessLog, kind: Literal["http", "tcp"]) -> Shape:
    if log.text_format is not None:
        line = log.text_format if log.text_format.endswith("\n") else log.text_format + "\n"
        return {"text_format_source": {"inline_string": line}}
    fields = log.json_format or (HTTP_FIELDS if kind == "http" else TCP_FIELDS)
    return {"json_format": dict(fields)}
