"""Servers that keep to the contract of a moderation service, on loopback: strict about what they are sent.

What they ask and answer is as the services document it: Checks API v1alpha (aisafety.classifyContent), Perspective
v1alpha1 (comments.analyze), OpenAI (create moderation). They find words and know nothing else.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

POLICIES = {
    "DANGEROUS_CONTENT",
    "PII_SOLICITING_RECITING",
    "HARASSMENT",
    "SEXUALLY_EXPLICIT",
    "HATE_SPEECH",
    "MEDICAL_INFO",
    "VIOLENCE_AND_GORE",
    "OBSCENITY_AND_PROFANITY",
}


class Refusal(Exception):  # noqa: N818 - what the service says, not a defect
    """A request that the service refuses."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status, self.word, self.message = status, word, message


class Service:
    """What a fake does with a request. `failure` is what it answers instead: a status, bytes, or "hang"."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.failure: Any = None
        self.url = ""
        self.released = threading.Event()

    def answer(self, path: str, headers: dict[str, str], body: Any) -> Any:
        """The document for a request; raises Refusal."""
        raise NotImplementedError


def only(document: Any, *allowed: str) -> None:
    """Refuse members that the service does not know, as Google's do."""
    for name in document:
        if name not in allowed:
            message = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
            raise Refusal(400, "INVALID_ARGUMENT", message)


class Checks(Service):
    """Google Checks AI Safety. `scores` are of texts that hold a word."""

    token = "ya29.token"
    project = "my-project"

    def __init__(self) -> None:
        super().__init__()
        self.word, self.score, self.verdicts = "badger", 0.7, {}

    def answer(self, path, headers, body):
        if path != "/v1alpha/aisafety:classifyContent":
            raise Refusal(404, "NOT_FOUND", "no such method")
        if headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if headers.get("x-goog-user-project") != self.project:
            raise Refusal(403, "PERMISSION_DENIED", "Caller does not have permission on the project.")
        only(body, "input", "policies", "context", "classifierVersion", "classifier_version")
        only(body["input"], "text_input", "textInput")
        given = body["input"].get("text_input") or body["input"].get("textInput")
        only(given, "content", "language_code", "languageCode")
        if not isinstance(given.get("content"), str) or not given["content"] or not body.get("policies"):
            raise Refusal(400, "INVALID_ARGUMENT", "content and policies are required")
        return {"policyResults": [self._result(policy, given["content"]) for policy in body["policies"]]}

    def _result(self, policy, content):
        only(policy, "policy_type", "policyType", "threshold")
        name, threshold = policy.get("policy_type") or policy.get("policyType"), policy.get("threshold", 0.5)
        if name not in POLICIES or not 0 <= threshold <= 1:
            raise Refusal(400, "INVALID_ARGUMENT", f"Invalid value at 'policies': {name} {threshold}")
        score = self.score if self.word in content else 0.1
        verdict = self.verdicts.get(name) or ("VIOLATIVE" if score >= threshold else "NON_VIOLATIVE")
        return {"policyType": name, "score": score, "violationResult": verdict, "newerThanThisAdapter": [1]}


class Perspective(Service):
    """Perspective's comment analyzer."""

    key = "AIza-test"
    attributes = {"TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT"}

    def answer(self, path, headers, body):
        if path != "/v1alpha1/comments:analyze":
            raise Refusal(404, "NOT_FOUND", "no such method")
        if headers.get("x-goog-api-key") != self.key:
            raise Refusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        only(
            body,
            "comment",
            "requestedAttributes",
            "languages",
            "doNotStore",
            "clientToken",
            "sessionId",
            "spanAnnotations",
        )
        only(body["comment"], "text", "type")
        text = body["comment"]["text"]
        if not text:
            raise Refusal(400, "INVALID_ARGUMENT", "Comment must be non-empty.")
        if len(text.encode()) > 20_480:
            raise Refusal(400, "INVALID_ARGUMENT", "Comment text too long.")
        if unknown := set(body["requestedAttributes"]) - self.attributes:
            raise Refusal(400, "INVALID_ARGUMENT", f"Unknown requested attributes: {unknown}")
        score = 0.9 if "badger" in text else 0.05
        summary = {"summaryScore": {"value": score, "type": "PROBABILITY"}}
        spans = {"spanScores": [{"begin": 0, "end": len(text), "score": {"value": score, "type": "PROBABILITY"}}]}
        scores = {name: {**summary, **spans} for name in body["requestedAttributes"]}
        return {"attributeScores": scores, "languages": ["en"], "detectedLanguages": ["en"]}


class Moderation(Service):
    """An OpenAI-compatible moderation endpoint. `scores` False gives categories without scores."""

    key = "sk-test"

    def __init__(self) -> None:
        super().__init__()
        self.scores = True

    def answer(self, path, headers, body):
        if path != "/v1/moderations":
            raise Refusal(404, "not_found", "no such path")
        if headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal(401, "invalid_api_key", "Incorrect API key provided")
        if set(body) - {"input", "model"} or not isinstance(body.get("input"), str):
            raise Refusal(400, "invalid_request_error", "unknown parameter")
        score = 0.93 if "badger" in body["input"] else 0.01
        names = ("harassment", "harassment/threatening", "self-harm", "sexual")
        result = {"flagged": score > 0.5, "categories": dict.fromkeys(names, score > 0.5)}
        if self.scores:
            result["category_scores"] = dict.fromkeys(names, score)
            result["category_applied_input_types"] = {name: ["text"] for name in names}
        return {"id": "modr-1", "model": body.get("model", "omni-moderation-latest"), "results": [result]}


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """Serve on a free port of loopback; `service.url` is the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = respond(service, self.path, headers, content)
            self.send_response(status)
            self.send_header("content-type", "application/json; charset=UTF-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Clients that leave are none of its business."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        service.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def respond(service: Service, path: str, headers: dict[str, str], content: bytes) -> tuple[int, bytes]:
    """Status and body for a request."""
    if service.failure == "hang":
        service.released.wait(30)
    elif isinstance(service.failure, bytes):
        return 200, service.failure
    try:
        return 200, json.dumps(answer(service, path, headers, content)).encode()
    except Refusal as refusal:
        error = {"code": refusal.status, "message": refusal.message, "status": refusal.word, "details": []}
        return refusal.status, json.dumps({"error": error}).encode()


def answer(service: Service, path: str, headers: dict[str, str], content: bytes) -> Any:
    """The document for a request; raises Refusal."""
    if isinstance(service.failure, int):
        raise Refusal(service.failure, "UNAVAILABLE", f"failed on: {content.decode()}")
    if headers.get("content-type") != "application/json":
        raise Refusal(400, "INVALID_ARGUMENT", "content type")
    body = json.loads(content)
    service.seen.append(body)
    service.headers.append(headers)
    return service.answer(path, headers, body)


def ask(scorer: Any, text: str) -> Any:
    """Score one text and close the scorer, in a loop of its own."""

    async def once() -> Any:
        try:
            return await scorer.score(text)
        finally:
            await scorer.aclose()

    return asyncio.run(once())
