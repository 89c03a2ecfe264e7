"""Bindings: what becomes of paths, queries and bodies."""

import httpx
import pytest
from pydantic import BaseModel, Field

from headgate.kit.controls.faults import InvalidArgument
from headgate.service import Service, rpc
from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from headgate.service.transports.http.operation import Operation
from headgate.service.transports.http.routes import Routes
from tests.kit.asgi.wire import http as request
from tests.kit.asgi.wire import serve


def pointers(answer: httpx.Response) -> list[str]:
    """Where the problem's errors are."""
    assert answer.status_code == 400, answer.text
    return [each["pointer"] for each in answer.json()["errors"]]


async def test_typed(http):
    """Text in path and query becomes what the types say; a list takes its key again and again."""
    answer = await http.get("/books/7?lang=de&tags=a&tags=b+c&day=2026-01-31")
    assert answer.json() == {"id": 7, "lang": "de", "tags": ["a", "b c"], "day": "2026-01-31"}
    assert (await http.get("/books/7")).json() == {"id": 7, "lang": "en", "tags": [], "day": None}


async def test_all_that_is_wrong(http):
    """Everything that is wrong is told at once, where it is."""
    assert pointers(await http.get("/books/x?day=never")) == ["/key", "/day"]
    answer = await http.put("/books/a/pages/x", json={"title": 1, "pages": 0})
    assert pointers(answer) == ["/page", "/title", "/pages"]


async def test_unknown_keys(http):
    """A key that is no parameter is refused with the nearest that is, and so is one given twice or of the path."""
    answer = await http.get("/books/7?lng=de")
    assert pointers(answer) == ["/lng"]
    assert answer.json()["errors"][0]["hint"] == "did you mean 'lang'?"
    assert pointers(await http.get("/books/7?lang=a&lang=b")) == ["/lang"]
    assert pointers(await http.get("/books/7?key=8")) == ["/key"]
    assert pointers(await http.post("/library.Library/Ping?x=1")) == ["/x"]


async def test_record_from_query(http):
    """A record that is the only parameter is read from the query, under the names its fields have on wires."""
    answer = await http.get("/books?mostPages=9&onShelf=back&tags=x")
    assert answer.json() == {"mostPages": 9, "onShelf": "back", "tags": ["x"]}
    assert pointers(await http.get("/books?most_pages=9")) == ["/most_pages", "/mostPages"]


async def test_all_that_is_wrong_in_a_query_is_told(http):
    """Keys that are unknown or given twice, and values of the wrong type, are told at once."""
    answer = await http.get("/books?mostPages=many&onShelf=back&onShelf=front&colour=red")
    assert pointers(answer) == ["/onShelf", "/colour", "/mostPages"]


async def test_json_in_query(http):
    """A record among other parameters is JSON in the query."""
    assert (await http.get("/boxed/x", params={"box": '{"width": 3}'})).json() == 3
    assert pointers(await http.get("/boxed/x", params={"box": "{"})) == ["/box"]
    assert pointers(await http.get("/boxed/x", params={"box": '{"width": "w"}'})) == ["/box/width"]


async def test_bodies(http):
    """A body is the one record that is left, or an object of all that are left; nothing stands for no fields."""
    answer = await http.put("/books/a/pages/3", json={"title": "t"})
    assert (answer.status_code, answer.json()) == (202, "a/3/t")
    assert (await http.patch("/books/a", json={"title": "t"})).json() == ["a", "t", "0"]
    assert (await http.patch("/books/a")).json() == ["a", "", "0"]
    assert pointers(await http.patch("/books/a", json={"tittle": "t"})) == ["/tittle"]
    assert pointers(await http.put("/books/a/pages/3")) == [""]


async def test_percent(http):
    """Segments are told apart before they are decoded."""
    assert (await http.patch("/books/a%2Fb%20c")).json()[0] == "a/b c"
    assert (await http.get("/books%2F7")).status_code == 404
    assert (await http.get("/files/x/a/b%2Fc/")).json() == ["x", "a/b/c/"]
    assert (await http.get("/files/x/")).json() == ["x", ""]
    assert (await http.patch("/books/n%65w", json={"title": "t"})).json() == ["new", "t", "0"]
    assert (await http.post("/books/n%65w", json={"title": "t"})).json() == {"title": "t", "pages": 1}


@pytest.mark.parametrize("path", ["/books/%FF", "/books/7?lang=%FF"])
async def test_not_utf8(http, path):
    """What is not UTF-8 is refused."""
    assert (await http.get(path)).json()["code"] == "malformed_url"


async def test_exact_words_win(http):
    """A word wins over a parameter as far as the method goes; what else the path can is told."""
    assert (await http.post("/books/new", json={"title": "t"})).json()["title"] == "t"
    assert (await http.get("/books/new")).status_code == 400
    assert (await http.put("/books/new")).headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST"


async def test_methods(http):
    """Another method is 405 with Allow, OPTIONS tells the same, HEAD is GET without its body."""
    answer = await http.get("/library.Library/Ping")
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert answer.json()["status"] == 405
    options = await http.options("/kept")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    head = await http.head("/books/7")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == (await http.get("/books/7")).headers["content-length"]


async def test_nowhere(http):
    """A path that leads nowhere is 404, a slash too many or too few is told where to go instead."""
    answer = await http.get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "path_not_found")
    answer = await http.get("/kept/?x=1")
    assert (answer.status_code, answer.headers["location"]) == (308, "/kept?x=1")
    assert (await http.get("/books/")).headers["location"] == "/books"


async def test_no_other_host():
    """A redirect stays on this host, however many slashes the path has."""

    class Any(Service, name="any", public=True):
        @rpc(get="/{one}/")
        async def one(self, one: str) -> str:
            return one

    wire = HttpWire(host([Any()]))
    found = await serve(wire, request("//evil.example"))
    assert not found.headers.get("location", "").startswith("//")


async def test_root_path(wire):
    """Below a root path the same paths are served."""
    found = await serve(wire, request("/api/books/7", root_path="/api"))
    assert (found.status, found.problem["id"]) == (200, 7)


async def test_no_content(http):
    """A method that returns nothing answers 204, and a binding's own status is kept."""
    for answer in (await http.post("/library.Library/Ping"), await http.delete("/books/1")):
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await http.delete("/books/0")).status_code == 404


def service(name: str, **methods: str) -> Service:
    """A service with bindings: paths and their verbs by name."""

    def method(told: str) -> object:
        verb, path, parameter = told.split()
        scope: dict[str, object] = {}
        exec(f"async def method(self, {parameter}: str) -> str: ...", scope)  # noqa: S102
        made = scope["method"]
        return rpc(**{verb: path})(made)

    made: dict[str, object] = {}
    for key, told in methods.items():
        made[key] = method(told)
        made[key].__name__ = key
    return type(name.title(), (Service,), made, name=name, public=True)()


def operations(one: Service) -> tuple[Operation, ...]:
    """What a wire of this service serves."""
    return HttpWire(host([one])).operations


@pytest.mark.parametrize(
    ("one", "other"),
    [("get /a/{x} x", "get /a/{y} y"), ("get /a/{x} x", "delete /a/{y} y"), ("get /a/{x:path} x", "get /a/{y:path} y")],
)
def test_conflicts(one, other):
    """Two templates of one shape stop the start, and both are named."""
    with pytest.raises(InvalidArgument, match=r"One.m.*/a/\{x.*Two.m.*/a/\{y") as caught:
        Routes([*operations(service("one", m=one)), *operations(service("two", m=other))])
    assert caught.value.code == "route_conflict"


def test_no_conflict():
    """The same template with another method is fine, and so is a word beside a parameter."""
    HttpWire(host([service("one", m="get /a/{x} x"), service("two", m="delete /a/{x} x", n="get /a/b y")]))


def test_impossible_parameters():
    """What no segment can hold, and part of a segment, stops the start."""
    with pytest.raises(InvalidArgument, match="partly a parameter"):
        HttpWire(host([service("one", m="get /a/v{x} x")]))

    class Lists(Service, name="lists", public=True):
        @rpc(get="/a/{x}")
        async def get(self, x: list[str]) -> None: ...

    with pytest.raises(InvalidArgument, match="cannot be read from a path"):
        HttpWire(host([Lists()]))


async def test_extra(seen):
    """Other applications answer below their prefixes, the longest first; services come before them."""

    def app(name: str):
        async def run(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": f"{name} {scope['root_path']}".encode()})

        return run

    wire = HttpWire(host([service("one", m="get /a/{x} x")]), extra={"/docs": app("docs"), "/docs/more": app("more")})
    assert (await serve(wire, request("/docs/x"))).body == b"docs /docs"
    assert (await serve(wire, request("/docs/more"))).body == b"more /docs/more"
    assert (await serve(wire, request("/docsx"))).status == 404
    with pytest.raises(InvalidArgument, match="what is below /a have"):
        HttpWire(host([service("one", m="get /a/{x} x")]), extra={"/a": app("a")})


async def test_models():
    """A pydantic model is read from a query and from a body like any other record."""

    class Wanted(BaseModel):
        most: int = Field(alias="mostPages")
        tags: list[str] = []

    class Models(Service, name="models", public=True):
        @rpc(get="/models")
        async def find(self, wanted: Wanted) -> Wanted:
            return wanted

        @rpc(put="/models/{key}")
        async def put(self, key: int, wanted: Wanted | None = None) -> bool:
            return wanted is None

    transport = httpx.ASGITransport(HttpWire(host([Models()])))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/models?mostPages=3&tags=a&tags=b")
        assert answer.json() == {"mostPages": 3, "tags": ["a", "b"]}
        assert pointers(await http.get("/models?mostPages=x")) == ["/mostPages"]
        assert pointers(await http.get("/models?most=3")) == ["/most", "/mostPages"]
        assert (await http.put("/models/3")).json() is True
