"""The xDS server: a pure stream protocol, the hub that fans out, and its transports."""

import os

# No child of ours uses gRPC; unless told so before it is imported, it logs a line for every one that is started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
