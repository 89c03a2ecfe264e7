"""The Native API: the resources as they are, for platform engineers."""
