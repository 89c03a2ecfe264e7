"""The xDS server: a pure stream protocol, the hub that fans out, and its transports."""
