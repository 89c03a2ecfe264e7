"""A client of Redis or Valkey, made one way by everybody who keeps something there.

redis = connect("valkey://:PASSWORD@10.0.0.5:6379/0", what="the limits' store", connections=32)

FailedPrecondition
└── extra_missing       the client library is not installed
InvalidArgument
└── invalid_store_url   the URL cannot be; its text may hold a password and is never repeated
"""

from typing import TYPE_CHECKING, Final

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from redis.asyncio import Redis

_SCHEMES: Final = {"valkey": "redis", "valkeys": "rediss", "redis": "redis", "rediss": "rediss", "unix": "unix"}


def connect(url: str, *, what: str, connections: int, timeout: float | None = None, tries_again: int = 0) -> "Redis":
    """A client with a pool of its own; nothing is connected yet.

    `what` names the store in faults. `timeout` (seconds) bounds connecting, each exchange and the wait for a
    connection of the pool, None for callers who do that themselves. After a restart of the store every pooled
    connection is broken: `tries_again` says how often an exchange is repeated at once on another one.
    """
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise FailedPrecondition(
            f"{what} needs the package redis", code="extra_missing", hint="pip install 'headgate[redis]'"
        ) from None
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise _bad_url(what, f"its scheme must be one of {', '.join(sorted(_SCHEMES))}")
    try:
        pool = BlockingConnectionPool.from_url(
            f"{_SCHEMES[scheme]}://{rest}",
            max_connections=connections,
            timeout=timeout,
            retry=Retry(NoBackoff(), tries_again),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            encoding_errors="surrogatepass",
        )
    except ValueError:
        # Its text may quote part of a password that should have been percent-encoded.
        raise _bad_url(what, "it cannot be read; percent-encode what is special in a password") from None
    return Redis(connection_pool=pool)


def _bad_url(what: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"{what} has an unusable URL: {why}",
        code="invalid_store_url",
        hint="such as redis://:PASSWORD@HOST:6379/0, valkeys://HOST:6380/0 or unix:///run/valkey.sock",
    )
