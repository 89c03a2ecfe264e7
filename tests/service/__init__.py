"""The service framework, room by room."""
