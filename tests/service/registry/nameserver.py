"""A name server on UDP and 127.0.0.1 that answers from a dict; for tests."""

import asyncio
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """`records` are texts by name and type; `rcode` answers all with a failure; `silent` not at all."""

    def __init__(self, ttl: int = 0) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl = ttl
        self.rcode = dns.rcode.NOERROR
        self.silent = False
        self.failing: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    @property
    def server(self) -> str:
        """What DnsOptions take."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing to do."""

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        failing = name in self.failing
        answer.set_rcode(dns.rcode.SERVFAIL if failing else self.rcode)
        if answer.rcode() == dns.rcode.NOERROR:
            texts = self.records.get((name, kind))
            if texts:
                answer.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, texts))
            else:
                answer.authority.append(
                    dns.rrset.from_text("test.", self.ttl, "IN", "SOA", f"ns.test. me.test. 1 60 60 60 {self.ttl}")
                )
                if not any(known == name for known, _ in self.records):
                    answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), address)
