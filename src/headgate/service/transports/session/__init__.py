"""Many calls over one connection: the protocol of the WebSocket wire, and of streams over NATS.

session = Session(JSON_FORM, client=True)
call = session.open("/orders.Orders/Get", b'{"id": "o-1"}')
for frame in session.take():
    await socket.send(JSON_FORM.encode(frame))

`frames` says what is sent, `machine` what it means, `serving` what a server does with it, `calling` what a client does.
"""

from headgate.service.transports.session.frames import FORMS, JSON_FORM, MSGPACK_FORM, Form, Frame, form_of
from headgate.service.transports.session.machine import WINDOW, Session

__all__ = ["FORMS", "JSON_FORM", "MSGPACK_FORM", "WINDOW", "Form", "Frame", "Session", "form_of"]
