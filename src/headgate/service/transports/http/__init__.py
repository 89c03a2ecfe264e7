"""Services over HTTP: one plain ASGI application.

    wire = HttpWire(host([Orders(), Payments()]))
    app = kit.harden(wire)

Every method answers at `POST /PACKAGE.SERVICE/METHOD`, and where its binding says. JSON or MessagePack go in by
`Content-Type` and out by `Accept`; streams are events, JSON lines or frames (`headgate.service.codecs.streams`).
"""

from headgate.service.transports.http.wire import HttpWire

__all__ = ["HttpWire"]
