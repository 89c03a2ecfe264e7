"""TLS: certificates, their rotation, and who showed one."""
