"""The wires on which services answer: each decodes requests, calls an endpoint, and encodes what it returns."""
