"""The fakes that are shipped."""
