"""Serving: start, ready, drain, stop."""
