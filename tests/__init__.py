"""The tests of Headgate; they mirror src."""
