"""What users say they want: clusters, route configs, listeners and secrets, as plain strict data.

Pure: no I/O, no clock, no randomness. Imports nothing of the other rooms.
"""
