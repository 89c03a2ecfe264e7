"""An issuer of tokens on a port of its own, and a clock that obeys."""

import asyncio
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
AUDIENCE = "shop"
NOW = 1_800_000_000.0

_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


class SigningPair:
    """A key pair: signs tokens, and shows its public half as a JWK."""

    def __init__(self, kid, algorithm="ES256", key=None):
        self.kid = kid
        self.algorithm = algorithm
        made = {"ES256": lambda: ec.generate_private_key(ec.SECP256R1()), "EdDSA": ed25519.Ed25519PrivateKey.generate}
        self.key = key or made.get(algorithm, lambda: _RSA)()

    def jwk(self, **more):
        """The public half; members given as None are left out."""
        family = {"ES": ECAlgorithm, "Ed": OKPAlgorithm}.get(self.algorithm[:2], RSAAlgorithm)
        entry = json.loads(family.to_jwk(self.key.public_key())) | {"kid": self.kid, "use": "sig"} | more
        return {name: value for name, value in entry.items() if value is not None}

    def token(self, headers=None, algorithm=None, **claims):
        """A token; claims and headers given as None are left out."""
        content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": NOW, "exp": NOW + 600} | claims
        content = {name: value for name, value in content.items() if value is not None}
        header = {name: value for name, value in ({"kid": self.kid} | (headers or {})).items() if value is not None}
        return jwt.encode(content, self.key, algorithm or self.algorithm, headers=header)


class Issuer:
    """Publishes keys over HTTP, counts how often it is asked, and fails on request."""

    def __init__(self):
        self.pairs = [SigningPair("one")]
        self.asked = 0
        self.status = 200
        self.body = None
        self.headers = {}
        self.open = asyncio.Event()
        self.open.set()
        self.seen = []
        self.url = ""

    async def serve(self, reader, writer):
        """Answer one request."""
        try:
            self.seen.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked += 1
            await self.open.wait()
            body = self.body if self.body is not None else json.dumps({"keys": [each.jwk() for each in self.pairs]})
            body = body if isinstance(body, bytes) else body.encode()
            lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(body)}", "connection: close"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def issuer():
    """A running issuer with one key."""
    found = Issuer()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    yield found
    found.open.set()
    server.close()


@pytest.fixture
def clock():
    """A clock that obeys."""
    return Clock()
