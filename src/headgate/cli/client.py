"""The API as the commands see it: paths in, JSON out, every trouble a `Failure`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import httpx

from headgate import __version__
from headgate.cli.failures import UNREACHABLE, Failure, of_problem
from headgate.cli.options import Options, is_loopback

NATIVE = "/api/v1/native"
PLATFORM = "/api/v1/platform"
_LONGEST_ERROR = 1 << 20
_PAGE: int | None = 500


class Client:
    """Talks to one control plane, for one team."""

    def __init__(self, options: Options, *, timeout: float = 30.0) -> None:
        self.url = options.api_url()
        self.team = options.team
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {options.bearer()}", "User-Agent": f"headgate/{__version__}"},
                timeout=httpx.Timeout(timeout, connect=5.0),
                trust_env=not is_loopback(self.url),
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise Failure(
                f"'{self.url}' is not a URL: {error}", hint="set --api to something like http://127.0.0.1:8080"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET a JSON document."""
        return self.request("GET", path, query=query)[0]

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Any, httpx.Response]:
        """Return the JSON document of the answer (None when it has no body), and the answer itself."""
        with self._failures():
            answer = self._http.request(method, path, params=self._query(query), json=body, headers=dict(headers or {}))
        self._check(answer)
        if not answer.content:
            return None, answer
        try:
            return answer.json(), answer
        except ValueError:
            raise self._stranger(answer) from None

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """Every item of a list, page by page."""
        cursor, limit = "", _PAGE
        while True:
            try:
                page = self.get(path, **{**query, "limit": limit, "cursor": cursor or None})
            except Failure as failure:
                if limit is None or (failure.problem or {}).get("code") != "invalid_query":
                    raise
                limit = None  # a server may allow less, and then has a default
                continue
            yield from page["items"]
            cursor = page.get("next_cursor") or ""
            if not cursor:
                return

    def stream(
        self, path: str, *, query: Mapping[str, Any], content: bytes, headers: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """POST bytes and yield each JSON line of the answer; an ordinary JSON answer counts as one line."""
        with (
            self._failures(),
            self._http.stream(
                "POST", path, params=self._query(query), content=content, headers=dict(headers), timeout=300.0
            ) as answer,
        ):
            if answer.is_error:
                answer.read()
                self._check(answer)
            for line in answer.iter_lines():
                if line.strip():
                    try:
                        yield json.loads(line)
                    except ValueError:
                        raise self._stranger(answer) from None

    def _query(self, query: Mapping[str, Any] | None) -> dict[str, Any]:
        given = {"team": self.team, **(query or {})}
        return {name: _text(value) for name, value in given.items() if value is not None}

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_error:
            return
        try:
            problem = json.loads(answer.content[:_LONGEST_ERROR])
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            raise self._stranger(answer)
        raise of_problem(answer.status_code, problem)

    def _stranger(self, answer: httpx.Response) -> Failure:
        return Failure(
            f"{self.url} answered {answer.status_code} with something that is not Headgate's API",
            exit_code=UNREACHABLE,
            hint="is --api right?",
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise Failure(f"{self.url} did not answer in time", exit_code=UNREACHABLE) from None
        except httpx.UnsupportedProtocol:
            raise Failure(
                f"'{self.url}' is not a URL", hint="set --api to something like http://127.0.0.1:8080"
            ) from None
        except httpx.TransportError as error:
            raise Failure(
                f"{self.url} is not reachable: {error}",
                exit_code=UNREACHABLE,
                hint="is `headgate up` running? If it runs elsewhere, set --api",
            ) from None


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")
