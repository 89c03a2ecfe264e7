"""Worlds: whole systems on a virtual clock."""
