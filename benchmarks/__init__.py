"""Measured claims: each module is run by `python -m benchmarks.NAME`, all of them by `make bench`."""
