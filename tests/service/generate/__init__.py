"""Tests of what writes code."""
