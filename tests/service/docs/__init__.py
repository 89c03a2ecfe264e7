"""Tests of documents and generated clients."""
