"""The text of a new method, a new service, and the test of one, from what was asked for on a command line.

    Declaration("cancel", parameters=(("id", "str"),), returns="Order", verb="post", path="/orders/{id}/cancel").text()
    service_text(names_of("payments"))

What is generated says that it is not written yet, in the way callers understand: `Unimplemented`.
"""

import ast
import keyword
import re
from dataclasses import dataclass
from typing import Final, Literal

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.generate.names import Names, sentence
from headgate.service.generate.project import render

Shape = Literal["unary", "server-stream", "client-stream", "bidi"]

VERBS: Final = ("get", "post", "put", "patch", "delete")

_WIDEST: Final = 116
"""Characters of a line within a class that need not be broken."""

_METHOD: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PLAIN: Final = frozenset(("str", "int", "float", "bool", "bytes", "None", "list", "dict", "set", "tuple"))
_RESERVED: Final = frozenset(("contract", "declared", "on_start", "on_stop"))


@dataclass(frozen=True, slots=True)
class Declaration:
    """A method to be. `parameters` are names and types; `returns` is the type of one message."""

    name: str
    parameters: tuple[tuple[str, str], ...] = ()
    returns: str = "None"
    shape: Shape = "unary"
    verb: str = ""
    path: str = ""
    public: bool = False
    summary: str = ""

    def __post_init__(self) -> None:
        if not _METHOD.fullmatch(self.name) or keyword.iskeyword(self.name) or self.name in _RESERVED:
            raise _invalid(f"'{self.name[:100]}' is no name of a method", "such as place_order")
        for name, hint in self.parameters:
            if not name.isidentifier() or keyword.iskeyword(name) or name == "self":
                raise _invalid(f"'{name[:100]}' is no name of a parameter", "NAME:TYPE, such as id:str")
            _check_type(hint)
        _check_type(self.returns)
        if self.shape in ("client-stream", "bidi") and len(self.parameters) != 1:
            raise _invalid("a stream that goes in is the only parameter", "one NAME:TYPE, the type of one message")
        if self.shape in ("server-stream", "bidi") and self.returns == "None":
            raise _invalid("a stream is of something", "--returns TYPE, the type of one message")
        object.__setattr__(self, "summary", sentence(self.summary, "a summary"))
        if '"' in self.path or "\\" in self.path or (self.path and not self.path.startswith("/")):
            raise _invalid(f"'{self.path[:200]}' is no path", "such as /orders/{id}")

    def text(self) -> str:
        """The method, not indented."""
        options = [f'{self.verb}="{self.path}"'] if self.verb else []
        options += ["public=True"] if self.public else []
        decorator = f"@rpc({', '.join(options)})" if options else "@rpc"
        taken = ["self", *(f"{name}: {self._in(hint)}" for name, hint in self.parameters)]
        returned = self._out(self.returns)
        # A function that hands out a stream and does nothing else has no need to be async: it is what mypy expects.
        head = "def" if self.shape in ("server-stream", "bidi") else "async def"
        signature = f"{head} {self.name}({', '.join(taken)}) -> {returned}:"
        if len(signature) > _WIDEST:
            signature = "\n    ".join([f"{head} {self.name}(", *(f"{each}," for each in taken)]) + f"\n) -> {returned}:"
        words = self.name.replace("_", " ")
        summary = self.summary or f"{words[:1].upper()}{words[1:]}."
        return "\n".join(
            (
                decorator,
                signature,
                f'    """{summary}"""',
                f'    raise Unimplemented("{self.name} is not written yet")',
            )
        )

    @property
    def imports(self) -> dict[str, list[str]]:
        """The names the text needs, by their modules."""
        found = {"headgate.service": ["rpc"], "headgate.kit.controls.faults": ["Unimplemented"]}
        if self.shape != "unary":
            found["collections.abc"] = ["AsyncIterator"]
        return found

    @property
    def unknown(self) -> list[str]:
        """Names of types that the module must know."""
        texts = [*(hint for _, hint in self.parameters), self.returns]
        names = (node.id for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))
        return [name for name in dict.fromkeys(names) if name not in _PLAIN]

    def _in(self, hint: str) -> str:
        return f"AsyncIterator[{hint}]" if self.shape in ("client-stream", "bidi") else hint

    def _out(self, hint: str) -> str:
        return f"AsyncIterator[{hint}]" if self.shape in ("server-stream", "bidi") else hint


_SERVICE: Final = '''"""The service << name >>: types, faults, methods."""

from headgate.service import AUTHENTICATED, Service, Struct, rpc


class << title >>Reply(Struct, frozen=True):
    """What << name >> answers."""

    text: str


class << title >>(
    Service,
    name="<< name >>",
    version="0.1.0",
    guard=AUTHENTICATED,
):
    """What << name >> does."""

    @rpc(public=True, timeout=5)
    async def hello(self, name: str) -> << title >>Reply:
        """Say that it is there."""
        return << title >>Reply(f"Hello, {name}!")
'''

_TEST: Final = '''"""What callers of << name >> rely on."""

from headgate.service.client import Client
from headgate.service.host import host

from << module >> import << title >>


async def test_hello() -> None:
    """Everybody is greeted."""
    hosted = host([<< title >>()])
    async with Client(<< title >>, local=hosted) as stub:
        assert (await stub.hello("Ada")).text == "Hello, Ada!"
'''


def service_text(names: Names) -> str:
    """A module with a service that has one public method."""
    return render(_SERVICE, {"name": names.name, "title": names.title})


def service_test(names: Names, module: str) -> str:
    """A module with a test of it."""
    return render(_TEST, {"name": names.name, "title": names.title, "module": module})


def _check_type(text: str) -> None:
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        node = ast.Call(ast.Name("", ast.Load()), [], [])
    allowed = ast.Name | ast.Attribute | ast.Subscript | ast.BinOp | ast.Constant | ast.Tuple | ast.Load | ast.BitOr
    if not all(isinstance(each, allowed | ast.List) for each in ast.walk(node)):
        raise _invalid(f"'{text[:100]}' is no type", "such as str, list[Order], Order | None")


def _invalid(message: str, hint: str = "") -> InvalidArgument:
    return InvalidArgument(message, code="invalid_declaration", hint=hint)
