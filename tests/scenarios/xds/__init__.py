"""xDS conformance: the numbered rules of docs/reference/xds.md, each proved over real gRPC streams.

Every rule runs as state of the world and as delta, on an aggregated stream and on a stream per type, unless
its test says that it has a meaning in some of these only.
"""
