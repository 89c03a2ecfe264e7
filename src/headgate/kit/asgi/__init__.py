"""The kit over ASGI: thin shells round the controls."""
