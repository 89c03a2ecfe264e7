"""The settings of the control plane: what `headgate serve` and `headgate up` can be told.

Those of the kit come in its groups, some with another default; what is in no group is the control plane's own.
Durations are seconds, or whole milliseconds in `*_ms`. Every address is loopback unless told otherwise.
"""

import base64
import binascii
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from headgate.kit.controls.faults import InvalidArgument, Unavailable
from headgate.kit.hardening import (
    MEBIBYTE,
    AnyPort,
    DeadlineSettings,
    DrainSettings,
    Host,
    LimitSettings,
    Lower,
    ObserveSettings,
    RateText,
    Seconds,
    WebSettings,
    Words,
)
from headgate.kit.settings import Settings

Port = Annotated[int, Field(ge=1, le=65_535)]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]

SECRET_KEY_BYTES = 32


def _default_database_url(data: dict[str, Any]) -> str:
    return f"sqlite+aiosqlite:///{data['state_dir']}/headgate.db"


def _default_replica_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class OwnSettings(Settings):
    """What only a control plane can be told."""

    api_host: Host = "127.0.0.1"
    """Address the API, its documentation and the health checks are served on."""
    api_port: AnyPort = 8080
    """Port of the API; 0 takes any free one."""
    xds_host: Host = "127.0.0.1"
    """Address Envoys connect to for their configuration (ADS, gRPC)."""
    xds_port: AnyPort = 18_000
    """Port Envoys connect to; 0 takes any free one."""
    gateway_host: Host = "127.0.0.1"
    """Address of the default listener `gateway`, which `expose` and `import` create when it is absent."""
    gateway_port: Port = 10_000
    """Port of the default listener `gateway`."""

    state_dir: Path = Path(".headgate")
    """Directory for the embedded database, the secret key and the files of `headgate up`; made when absent."""
    database_url: str = Field(
        default_factory=_default_database_url,
        json_schema_extra={"default_text": "sqlite+aiosqlite:///STATE_DIR/headgate.db"},
        pattern=r"^(sqlite\+aiosqlite|postgresql\+asyncpg)://",
    )
    """Where configuration is kept: `sqlite+aiosqlite:///PATH`, or `postgresql+asyncpg://USER:PASSWORD@HOST/NAME`."""
    secret_key: SecretStr | None = None
    """Key which encrypts stored secrets: 32 bytes in base64. Given, it wins over `secret_key_file`."""
    secret_key_file: Path = Field(
        default_factory=lambda data: data["state_dir"] / "secret.key",
        json_schema_extra={"default_text": "STATE_DIR/secret.key"},
    )
    """File with that key; made with mode 0600 when absent. Replicas must share one key."""
    admin_token_file: Path | None = None
    """File to write the first admin token to (mode 0600) when the database is new; `headgate up` sets it."""
    replica_id: str = Field(
        default_factory=_default_replica_id,
        json_schema_extra={"default_text": "HOSTNAME-PID"},
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
    )
    """Name of this process among those that share the database, shown beside the dataplanes it serves."""

    xds_tls_certificate: Path | None = None
    """PEM certificate chain of the xDS server; with it, every Envoy must show a client certificate."""
    xds_tls_key: Path | None = None
    """PEM private key of `xds_tls_certificate`."""
    xds_tls_client_ca: Path | None = None
    """PEM authorities that sign the certificates of Envoys."""
    xds_trust_domain: str = Field(default="headgate.local", pattern=r"^[a-z0-9._-]{1,255}$")
    """SPIFFE trust domain that the certificates of Envoys must be in."""
    xds_tls_reload: Seconds = 10.0
    """How often these files are looked at for a rotation; 0 only on SIGHUP."""

    page_limit_max: int = Field(default=500, ge=1, le=10_000)
    """Most items in one page of a list."""
    import_max_document_bytes: int = Field(default=32 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE)
    """Largest OpenAPI document that is imported."""
    import_max_operations: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most operations in one OpenAPI document."""
    preflight: Annotated[Literal["auto", "on", "off"], Lower] = "auto"
    """Whether a change is shown to `envoy --mode validate` first: `auto` does so when an Envoy can be found."""

    poll_interval_ms: Milliseconds = 1_000
    """How often a replica looks for changes it was not told about."""
    debounce_ms: int = Field(default=5, ge=0, le=60_000)
    """How long to gather changes before they are pushed to Envoys."""
    break_grace_ms: int = Field(default=50, ge=0, le=60_000)
    """How long after the routes to it are acknowledged gone a cluster is removed, for requests under way."""
    max_response_bytes: int = Field(default=3 * MEBIBYTE, ge=64 * 1024, le=512 * MEBIBYTE)
    """Size above which an incremental xDS response is split."""
    max_streams: int = Field(default=20_000, ge=1, le=1_000_000)
    """Most xDS streams at a time; further ones are refused and may try again."""
    audit_days: int = Field(default=90, ge=1, le=36_500)
    """How long audit entries are kept."""
    revisions_kept: int = Field(default=1_000, ge=1, le=1_000_000)
    """How many revisions of a team are kept; older ones cannot be shown or restored."""

    @field_validator("secret_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and decode_key(value.get_secret_value()) is None:
            raise ValueError(f"must be {SECRET_KEY_BYTES} bytes in base64 (openssl rand -base64 {SECRET_KEY_BYTES})")
        return value

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [self.xds_tls_certificate, self.xds_tls_key, self.xds_tls_client_ca]
        if any(given) and not all(given):
            raise ValueError("xds_tls_certificate, xds_tls_key and xds_tls_client_ca go together: set all or none")
        return self

    @property
    def xds_tls(self) -> bool:
        """Whether Envoys are served over mutual TLS."""
        return self.xds_tls_certificate is not None

    def encryption_key(self) -> bytes:
        """The 32 bytes that encrypt stored secrets; makes the key file when there is neither key nor file.

        Two processes which start at once agree on one key. Raises InvalidArgument (`invalid_secret_key`) for
        a file that holds no key and Unavailable (`state_unwritable`) when it can neither be read nor made.
        """
        if self.secret_key is not None:
            return decode_key(self.secret_key.get_secret_value()) or b""
        try:
            text = _read_or_make_key(self.secret_key_file)
        except OSError as error:
            raise Unavailable(
                f"the secret key {self.secret_key_file} can neither be read nor made: {error.strerror}",
                code="state_unwritable",
                hint="set HEADGATE_STATE_DIR or HEADGATE_SECRET_KEY_FILE to a place this user may write",
            ) from error
        key = decode_key(text)
        if key is None:
            raise InvalidArgument(
                f"secret_key_file: {self.secret_key_file} does not hold {SECRET_KEY_BYTES} bytes in base64",
                code="invalid_secret_key",
                hint="restore the file: without its key the secrets stored with it cannot be read",
            )
        return key


class ControlPlaneSettings(WebSettings, DeadlineSettings, LimitSettings, DrainSettings, ObserveSettings, OwnSettings):
    """Everything the control plane can be told."""

    max_body_size: int = Field(default=64 * MEBIBYTE, ge=0, le=1024 * MEBIBYTE)
    """Most bytes of a request body, and of an Envoy's message; beyond it the answer is 413. 0 is without limit."""
    request_timeout: Seconds = 60.0
    """Longest until the first byte of the API's answer; beyond it the answer is 504. 0 is without limit."""
    docs_public: bool = True
    """Whether `/swagger-ui` and `/openapi.json` are there, for everybody; otherwise only with `debug`."""
    docs_paths: Words = ("/swagger-ui", "/openapi.json")
    """Which of the two that concerns; one that is left out needs a token."""
    cors_allowed_methods: Words = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    """Methods those origins may use."""
    cors_allowed_headers: Words = (
        "Content-Type",
        "Authorization",
        "If-Match",
        "If-None-Match",
        "X-Headgate-Team",
        "X-Request-ID",
    )
    """Request headers those origins may send."""
    rate_limit_default: RateText = "30000/minute"
    """Requests each token, or client address, may make, such as `600/minute` or `100/5 minutes`; `off` is all."""
    max_concurrent_per_caller: int = Field(default=500, ge=0, le=1_000_000)
    """Most requests at a time of one token or client; further ones get 429. 0 is without limit."""
    otel_service_name: str = "headgate-controlplane"
    """Name of this service in traces."""


def decode_key(text: str) -> bytes | None:
    """The bytes of a key in base64 (standard or URL-safe alphabet), None unless they are exactly 32."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == SECRET_KEY_BYTES else None


def _read_or_make_key(file: Path) -> str:
    with suppress(FileNotFoundError):
        return file.read_text(encoding="ascii", errors="replace")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as handle:
            handle.write(base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode() + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        # A link, unlike a rename, does not replace the key of a process that was faster.
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    return file.read_text(encoding="ascii", errors="replace")
