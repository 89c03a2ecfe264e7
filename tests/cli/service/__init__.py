"""Tests of the service framework's verbs."""
