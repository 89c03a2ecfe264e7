"""Every knob of the kit, in groups; `HardeningSettings` is all of them.

    settings = HardeningSettings.load()              # environment, .env, file
    app = harden(app, settings)

A process with settings of its own inherits the groups it needs (and may set another prefix for the
environment): whoever gets settings without a group leaves that group's controls out. Durations are seconds,
sizes bytes, 0 switches a limit off where the text says so. Lists are separated by commas.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from headgate.kit.controls.rate import Rate
from headgate.kit.settings import Settings

Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Positive = Annotated[float, Field(gt=0, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Host = Annotated[str, Field(min_length=1, max_length=253)]
AnyPort = Annotated[int, Field(ge=0, le=65_535)]

MEBIBYTE = 1024 * 1024


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        ip_network(each, strict=False)
    return value


def _rate(value: str) -> str:
    Rate.parse(value)
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[Words, AfterValidator(_networks)]
RateText = Annotated[str, Lower, AfterValidator(_rate)]


class ProfileSettings(Settings):
    """What kind of place this is."""

    profile: Annotated[Literal["development", "production"], Lower] = "development"
    """`production` refuses to start with an unsafe combination of settings, and says which."""
    debug: bool = False
    """Shows documentation and gRPC reflection, relaxes the content security policy for them. Never in production."""


class WebSettings(ProfileSettings):
    """Headers, hosts, origins and sizes of HTTP."""

    security_headers: bool = True
    """Whether answers carry the OWASP security headers."""
    content_security_policy: str = ""
    """Content-Security-Policy in place of the built-in strict one."""
    hsts_max_age: int = Field(default=31_536_000, ge=0, le=63_072_000)
    """Seconds browsers remember to use HTTPS, told over HTTPS only; 0 sends no Strict-Transport-Security."""
    cors_allowed_origins: Words = ()
    """Origins that browsers may call from, such as `https://shop.example`; none is same-origin only, `*` is any."""
    cors_allowed_methods: Words = ("GET", "POST", "OPTIONS")
    """Methods those origins may use."""
    cors_allowed_headers: Words = ("Content-Type", "Authorization", "X-Request-ID")
    """Request headers those origins may send."""
    cors_allow_credentials: bool = False
    """Whether browsers may send cookies and credentials from those origins; impossible with `*`."""
    cors_max_age: int = Field(default=600, ge=0, le=86_400)
    """Seconds browsers may remember the answer to a preflight."""
    trusted_hosts: Words = ()
    """Hosts that are served, such as `api.example` or `*.example`; none serves all, and warns in production."""
    trusted_proxies: Networks = ()
    """Networks of the proxies that are believed about client and scheme, such as `10.0.0.0/8`."""
    forwarded_header: Annotated[Literal["x-forwarded-for", "forwarded"], Lower] = "x-forwarded-for"
    """Which header those proxies write; the other one is ignored, for clients could write it themselves."""
    docs_public: bool = False
    """Whether documentation pages answer outside of debug."""
    docs_paths: Words = ("/docs", "/redoc", "/openapi.json", "/schema", "/swagger-ui")
    """Paths, and all below them, that hold documentation."""
    max_body_size: int = Field(default=MEBIBYTE, ge=0, le=1024 * MEBIBYTE)
    """Most bytes of a request body, and of a gRPC message received; beyond it the answer is 413."""
    gzip_min_size: int = Field(default=500, ge=0, le=1024 * MEBIBYTE)
    """Smallest answer in bytes that is compressed for clients which accept gzip; 0 compresses none."""


class DeadlineSettings(ProfileSettings):
    """How long things may take."""

    request_timeout: Seconds = 120.0
    """Longest until the first byte of the answer; beyond it the answer is 504. 0 is without limit."""
    idle_timeout: Seconds = 60.0
    """Longest gap between two parts of a streamed answer; 0 is without limit."""
    total_timeout: Seconds = 3_600.0
    """Longest a call may take in all, streams included; 0 is without limit."""
    untimed_paths: Words = ()
    """Prefixes of paths, or full names of RPCs, without any of the three."""
    timeout_header: str = Field(default="x-request-timeout-ms", pattern=r"^[a-z0-9-]{0,64}$")
    """Request header with which a caller may ask for less time, in milliseconds; "" reads none."""


class LimitSettings(ProfileSettings):
    """How much one caller, and all of them, may ask for."""

    rate_limit_default: RateText = "60/minute"
    """Requests each principal, or client address, may make, such as `60/minute` or `100/5 minutes`; `off` is all."""
    rate_limit_redis_url: SecretStr | None = None
    """Redis or Valkey in which replicas share the budgets; without it each process has its own."""
    rate_limit_store_down: Annotated[Literal["local", "open", "closed"], Lower] = "local"
    """What to do while that store is down: `local` counts in each process, `open` admits all, `closed` refuses all."""
    rate_limit_store_timeout: Seconds = 0.25
    """Longest to wait for that store."""
    rate_limit_max_keys: int = Field(default=100_000, ge=1, le=10_000_000)
    """Most callers remembered by one process; the longest unseen is forgotten first."""
    rate_limit_headers: bool = True
    """Whether answers carry `RateLimit` and `RateLimit-Policy`."""
    exempt_paths: Words = ()
    """Paths that are not limited, besides the probes and gRPC's health service."""
    max_concurrent: int = Field(default=1_000, ge=0, le=1_000_000)
    """Most calls at a time in one process, streams included; further ones get 503. 0 is without limit."""
    max_concurrent_per_caller: int = Field(default=100, ge=0, le=1_000_000)
    """Most of them for one principal or client; further ones get 429. 0 is without limit."""
    load_shedding: bool = False
    """Whether the first of these two adapts downwards while answers get slower."""


class SpendSettings(ProfileSettings):
    """Work that is not counted in requests."""

    rate_limit_tokens: RateText = "off"
    """Units of work, such as model tokens, that each may spend; handlers charge them."""


class IdentitySettings(ProfileSettings):
    """Who may call."""

    api_key: SecretStr | None = None
    """API keys, separated by commas: `KEY`, `NAME=KEY`, `NAME=sha256:HEX`, with scopes `NAME[a:read|b:write]=KEY`."""
    jwt_jwks_url: str = ""
    """Where the issuer publishes its signing keys; with it, JSON Web Tokens are accepted."""
    jwt_issuer: str = ""
    """Required `iss` of tokens; must be set with `jwt_jwks_url`."""
    jwt_audience: str = ""
    """Required `aud` of tokens; must be set with `jwt_jwks_url`."""
    jwt_algorithms: Words = ("RS256", "ES256", "EdDSA")
    """Signature algorithms that are accepted."""
    jwt_leeway: Seconds = 30.0
    """Difference between clocks that is forgiven."""
    jwks_ttl: Seconds = 300.0
    """How long the issuer's keys are used before they are fetched again; an unknown key id fetches sooner."""
    jwks_max_age: Annotated[float, Field(ge=0, le=2_592_000)] = 86_400.0
    """Longest the issuer's keys are used while it cannot be reached."""
    jwt_tenant_claim: str = ""
    """Claim that every token must carry, and that becomes the principal's tenant; "" asks for none."""
    mtls_identity: bool = True
    """Whether a verified client certificate makes a principal, by its SPIFFE id, else its first DNS name."""
    mtls_trust_domains: Words = ()
    """SPIFFE trust domains whose certificates are accepted; none accepts every certificate that was verified."""
    mtls_scopes: Words = ()
    """Scopes by certificate, such as `spiffe://shop.example/orders=orders:read|orders:write`."""
    access_rules: Words = ()
    """Scopes that calls need, such as `POST /orders/{id}=orders:write` or `/shop.v1.Orders/*=orders:read`."""
    allow_anonymous: bool = False
    """Whether callers without any identity are served although keys, tokens or certificates are configured."""
    public_paths: Words = ()
    """Paths served without an identity, such as `GET /orders/{id}`; one that ends in `/` means all below it."""


class ResilienceSettings(ProfileSettings):
    """Calls to others: breaker, retry, cache, connections."""

    cb_enabled: bool = True
    """Whether circuit breakers break."""
    cb_failure_rate: Share = 0.5
    """Share of failed calls in the window that opens a breaker."""
    cb_failure_threshold: int = Field(default=5, ge=1, le=100_000)
    """Fewest calls in the window before the share counts."""
    cb_window: Positive = 30.0
    """Length of the sliding window."""
    cb_slow_call: Seconds = 60.0
    """A call that takes longer is slow; 0 calls none slow."""
    cb_slow_rate: Share = 0.8
    """Share of slow calls that opens a breaker."""
    cb_recovery_timeout: Positive = 30.0
    """How long a breaker stays open the first time; it doubles, with jitter, as long as probes fail."""
    cb_recovery_max: Seconds = 300.0
    """Longest it stays open."""
    retry_attempts: int = Field(default=3, ge=1, le=20)
    """Most attempts of one call to others; 1 never retries."""
    retry_budget: Share = 0.2
    """Share of calls that may be retries, over all of them."""
    retry_after_max: Seconds = 30.0
    """Longest `Retry-After` that is waited for."""
    cache_enabled: bool = True
    """Whether results are cached."""
    cache_ttl: Annotated[float, Field(gt=0, le=2_592_000)] = 300.0
    """How long a cached result is fresh."""
    cache_stale: Seconds = 0.0
    """How long after that it is still served while a new one is made."""
    cache_error_ttl: Seconds = 0.0
    """How long an error is remembered, so that what is down is not asked again at once; 0 remembers none."""
    cache_max_size: int = Field(default=1_024, ge=1, le=10_000_000)
    """Most results in one process's cache."""
    cache_max_bytes: int = Field(default=64 * MEBIBYTE, ge=1_024, le=1024 * 1024 * MEBIBYTE)
    """Most bytes of them."""
    cache_max_item: int = Field(default=MEBIBYTE, ge=1_024, le=1024 * MEBIBYTE)
    """Most bytes of one; a larger one is made anew each time."""
    cache_redis_url: SecretStr | None = None
    """Redis or Valkey in which replicas share results."""
    httpx_pool_max: int = Field(default=100, ge=1, le=100_000)
    """Most connections of the shared HTTP client."""
    httpx_pool_max_keepalive: int = Field(default=20, ge=0, le=100_000)
    """Most of them kept open while idle."""
    httpx_timeout: Positive = 30.0
    """Longest a call of that client may take, unless its caller's deadline is nearer."""


class ObserveSettings(ProfileSettings):
    """What is told of calls."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = "info"
    """The least severe lines that are logged."""
    log_format: Annotated[Literal["auto", "json", "console"], Lower] = "auto"
    """Form of the log: `auto` is `console` on a terminal and `json` elsewhere."""
    log_buffer: int = Field(default=4 * MEBIBYTE, ge=0, le=1024 * MEBIBYTE)
    """Most bytes of log lines that wait while nobody takes them; what comes after is dropped and counted. With 0,
    calls wait instead."""
    redact_names: Words = ()
    """Names of fields, besides the built-in ones, whose values are masked in logs, in any case and spelling."""
    redact_patterns: Words = ()
    """Regular expressions of text, besides the built-in ones, that is masked in logs; one that holds a comma must be in
    a list of the file."""
    access_log: bool = True
    """Whether each call is a line of the log; probes are at level debug."""
    audit_log: str = "off"
    """Where the audit log goes: `off`, `stdout`, `stderr`, `syslog`, `syslog+unix:///PATH`, `syslog+udp://HOST:PORT`,
    `syslog+tcp://HOST:PORT`, or a file's path."""
    audit_fsync: bool = False
    """Whether each batch of records is on the disk before the next is taken; for files."""
    audit_calls: Annotated[Literal["all", "notable"], Lower] = "all"
    """Which calls are recorded: all, or those that were refused, failed or change things."""
    audit_required: bool = False
    """Whether calls are refused, with 503, while they cannot be recorded."""
    audit_hash_chain: bool = False
    """Whether each audit record holds the hash of the one before, so that a missing one shows."""
    audit_hash_key: SecretStr | None = None
    """Key of those hashes; without one, whoever may write the file can make them anew."""
    probes: bool = True
    """Whether `/health` and `/ready` are answered for the application; one with its own switches this off."""
    metrics_enabled: bool = True
    """Whether calls are counted and `/metrics` answers."""
    metrics_path: str = Field(default="/metrics", pattern=r"^/")
    """Where the metrics are."""
    metrics_public: bool = False
    """Whether metrics answer everybody: without `metrics_token`, and without the scope `metrics:read`."""
    metrics_token: SecretStr | None = None
    """Bearer token with which a scraper reads the metrics."""
    metrics_max_series: int = Field(default=2_000, ge=10, le=100_000)
    """Most sets of labels that calls are counted under; what comes after them counts as `(other)`."""
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Port of their own for the metrics, for a network of one's own: whoever reaches it reads them. 0 has none."""
    telemetry_disabled: bool = False
    """Whether traces are off, whatever the platform."""
    otel_service_name: str = "headgate"
    """Name of this service in traces, in the audit log and in syslog."""
    otel_exporter_otlp_endpoint: str = ""
    """Collector that traces are sent to (OTLP), such as `http://127.0.0.1:4318`; none asks the platform."""
    otel_exporter_otlp_protocol: Annotated[Literal["http/protobuf", "grpc"], Lower] = "http/protobuf"
    """How they are sent."""
    otel_traces_sample_rate: Share = 1.0
    """Share of traces begun here that are recorded; a caller's decision is followed."""
    sentry_dsn: SecretStr | None = None
    """Sentry project that errors are sent to."""
    sentry_traces_sample_rate: Share = 0.1
    """Share of calls whose performance Sentry gets."""
    sentry_environment: str = ""
    """Name of the environment in Sentry."""


class DrainSettings(ProfileSettings):
    """How connections end."""

    keep_alive_timeout: Seconds = 75.0
    """How long an idle connection is kept."""
    shutdown_delay: Seconds = 0.0
    """How long to go on serving while `/ready` already refuses, so that balancers turn away."""
    shutdown_grace: Seconds = 10.0
    """Longest to let calls and streams finish after that; then they are cancelled."""


class ServeSettings(DrainSettings):
    """Where and how it listens."""

    server: Annotated[Literal["uvicorn", "granian", "hypercorn"], Lower] = "uvicorn"
    """The HTTP server."""
    host: Host = "127.0.0.1"
    """Address everything listens on."""
    port: AnyPort = 8080
    """Port of HTTP; 0 takes any free one."""
    grpc_port: AnyPort = 50_051
    """Port of gRPC; 0 takes any free one."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that share the ports."""
    tls_certificate: Path | None = None
    """PEM certificate chain; with it, HTTPS and gRPC over TLS."""
    tls_key: Path | None = None
    """PEM private key of `tls_certificate`."""
    tls_client_ca: Path | None = None
    """PEM authorities of client certificates; with it, a client must show one."""
    tls_reload: Seconds = 10.0
    """How often these files are looked at for a rotation; 0 never."""
    grpc_keepalive: Seconds = 60.0
    """How often an idle gRPC connection is asked whether it lives; 0 never."""
    grpc_web: bool = True
    """Whether the gRPC services also answer gRPC-Web and Connect on the HTTP port."""


class SafetySettings(ProfileSettings):
    """The content gate."""

    content_filter_scorers: Words = ()
    """Who judges: `builtin`, `patterns`, `tflite`, `saved_model`, `checks`, `moderation`, `perspective`; or none."""
    content_filter_threshold: Share = 0.8
    """Probability from which a category counts."""
    content_filter_thresholds: Words = ()
    """Thresholds of single categories, such as `hate=0.6`."""
    content_filter_action: Annotated[Literal["block", "redact", "flag"], Lower] = "block"
    """What happens to a text that counts."""
    content_filter_on_error: Annotated[Literal["open", "closed"], Lower] = "closed"
    """Whether text passes when a scorer fails."""
    content_filter_timeout: Annotated[float, Field(gt=0, le=600)] = 5.0
    """Longest a scorer may take."""
    content_filter_window: int = Field(default=200, ge=40, le=65_536)
    """Most characters of a stream held back until they are judged."""
    content_filter_marker: str = "[removed]"
    """What stands in place of redacted text."""
    content_filter_sides: Words = ("input", "output")
    """What is judged: `input`, `output` or both."""
    content_filter_methods: Words = ("POST", "PUT", "PATCH")
    """HTTP methods that are judged."""
    content_filter_paths: Words = ("/",)
    """Path prefixes that are judged."""
    content_filter_pointers: Words = ()
    """JSON pointers of the texts in a body; none judges every string."""
    content_filter_text_at: Words = ()
    """JSON pointers of the text in the events of a stream; none knows the usual ones."""
    content_filter_buffer: int = Field(default=MEBIBYTE, ge=1_024, le=1024 * MEBIBYTE)
    """Most bytes of a body that are held to be judged; a larger one is refused."""
    content_filter_model: str = ""
    """File of the TFLite model, or directory of the SavedModel."""
    content_filter_labels: str = ""
    """File with the categories of that model, one a line."""
    content_filter_checks_project: str = ""
    """Google Cloud project that Google Checks is billed to."""
    content_filter_checks_policies: Words = ()
    """Policies of Google Checks, such as `HATE_SPEECH` or `HARASSMENT=0.6`; none asks for all."""
    content_filter_checks_token_file: str = ""
    """File from which the access token for Google Checks is read each time."""
    content_filter_perspective_key: SecretStr | None = None
    """Key for Perspective, whose service ends on 31 December 2026."""
    content_filter_moderation_url: str = ""
    """Moderation endpoint that speaks like OpenAI's."""
    content_filter_moderation_key: SecretStr | None = None
    """Key for it."""
    content_filter_moderation_model: str = ""
    """Model it is to use; "" leaves that to it."""


class HardeningSettings(
    WebSettings,
    DeadlineSettings,
    LimitSettings,
    SpendSettings,
    IdentitySettings,
    ResilienceSettings,
    ObserveSettings,
    ServeSettings,
    SafetySettings,
):
    """All groups, for a service without settings of its own. Variables have no prefix: `API_KEY`, `MAX_BODY_SIZE`."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="")
