"""The Platform API: import and expose, for API developers."""
