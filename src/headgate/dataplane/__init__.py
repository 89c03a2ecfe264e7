"""Beside Envoy: bootstrap, supervision, validation."""
