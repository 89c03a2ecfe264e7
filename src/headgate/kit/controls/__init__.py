"""Protocol-neutral controls. Pure: no I/O, no clock, no randomness."""
