"""Examples for the documentation of the API. Each is valid: a test holds them against the model."""

from typing import Any

CLUSTER: dict[str, Any] = {
    "endpoints": [{"address": "127.0.0.1", "port": 3001}, {"address": "127.0.0.1", "port": 3002}],
    "connect_timeout_ms": 1000,
    "health_checks": [{"http": {"path": "/health"}}],
}

ROUTE: dict[str, Any] = {
    "name": "orders",
    "match": {"path": {"path_separated_prefix": "/orders"}, "methods": ["GET", "POST"]},
    "forward": {"cluster": "orders", "timeout_ms": 5000},
}

ROUTE_CONFIG: dict[str, Any] = {
    "virtual_hosts": [
        {
            "name": "shop",
            "domains": ["shop.example.com"],
            "routes": [
                ROUTE,
                {"name": "old", "match": {"path": {"prefix": "/old"}}, "redirect": {"path": "/orders", "status": 308}},
            ],
        }
    ]
}

LISTENER: dict[str, Any] = {
    "address": "127.0.0.1",
    "port": 10000,
    "filter_chains": [{"name": "http", "http": {"route_config": "gateway", "upgrades": ["websocket"]}}],
}

SECRET: dict[str, Any] = {"trusted_ca": "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"}

SPECS: dict[str, dict[str, Any]] = {
    "cluster": CLUSTER,
    "route_config": ROUTE_CONFIG,
    "route": ROUTE,
    "listener": LISTENER,
    "secret": SECRET,
}

PATCHES: dict[str, dict[str, Any]] = {
    "cluster": {"connect_timeout_ms": 2000, "health_checks": None},
    "route_config": {"response_headers": {"set": [{"name": "x-served-by", "value": "headgate"}]}},
    "route": {"forward": {"cluster": "orders-v2"}},
    "listener": {"max_connections": 10000},
    "secret": SECRET,
}

CHANGES: dict[str, Any] = {
    "changes": [
        {"operation": "put", "kind": "cluster", "name": "orders-v2", "spec": CLUSTER},
        {
            "operation": "patch",
            "kind": "route",
            "name": "gateway/shop/orders",
            "spec": {"forward": {"cluster": "orders-v2"}},
        },
    ],
    "message": "move orders to v2",
}

NEW_TOKEN: dict[str, Any] = {
    "name": "deploy",
    "team": "default",
    "scopes": ["clusters:write", "route-configs:write", "*:read"],
    "expires_in_s": 2_592_000,
}
