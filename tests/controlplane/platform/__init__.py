"""The Platform API."""
