"""From model to Envoy resources: a pure function, incremental, each resource encoded once."""
