"""Headgate: the API platform that fits in a virtualenv."""

__version__ = "0.1.0"
