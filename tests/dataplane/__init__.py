"""Tests of the dataplane."""
