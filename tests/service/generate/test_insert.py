"""Edits of source that is there."""

import types

import pytest

from headgate.kit.controls.faults import AlreadyExists, InvalidArgument
from headgate.service import Service
from headgate.service.generate.declare import Declaration
from headgate.service.generate.insert import add_argument, import_names, insert_method, services_in

ODD = '''"""Doc."""
import asyncio
from headgate.service import (Service,   # ours
    rpc)

class  Orders( Service ,name = "orders" ):
  x=1
  @rpc
  async def get(self, id:str)->str :
      return  id   # kept
  # a comment at the end

TAIL = {  'a':1 }
'''


def test_the_rest_stays():
    """A method is put behind the last one, with the class's own indent, and no other byte changes."""
    edited = insert_method(ODD, "Orders", "@rpc\nasync def ping(self) -> None:\n    pass\n")
    added = "\n  @rpc\n  async def ping(self) -> None:\n      pass\n"
    assert edited.replace(added, "", 1) == ODD
    assert edited.index("return  id") < edited.index("ping") < edited.index("# a comment")


def test_line_ends_stay():
    """A file of another system keeps its line ends, the new lines have them too."""
    edited = insert_method(ODD.replace("\n", "\r\n"), "Orders", "@rpc\nasync def ping(self) -> None: ...")
    assert edited.count("\n") == edited.count("\r\n")


def test_a_file_without_a_last_line_end():
    """A method is put behind a last line that has no end."""
    source = "class A(Service):\n    def a(self): ..."
    assert insert_method(source, "A", "def b(self): ...").endswith("    def a(self): ...\n\n    def b(self): ...\n")


def test_taken_names():
    """A method, or anything of that name, is not put in twice."""
    for name in ("get", "x"):
        with pytest.raises(AlreadyExists) as refused:
            insert_method(ODD, "Orders", f"async def {name}(self) -> None: ...")
        assert refused.value.code == "name_taken"


def test_no_such_class():
    """A class that is not there is refused with those that are."""
    with pytest.raises(InvalidArgument) as refused:
        insert_method(ODD, "Payments", "def a(self): ...")
    assert refused.value.hint == "there are: Orders"


def test_broken_source():
    """What is no Python is said to be none, with the line."""
    with pytest.raises(InvalidArgument, match="line 2"):
        services_in("a = 1\nb = (\n")


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        ("from m import b\nx = 1\n", "from m import a, b\nx = 1\n"),
        ("from m import a\n", "from m import a\n"),
        ('"""Doc."""\nx = 1\n', '"""Doc."""\n\nfrom m import a\nx = 1\n'),
        ("x = 1\n", "from m import a\nx = 1\n"),
        ("import os\nimport zlib\n\nx = 1\n", "import os\nimport zlib\n\nfrom m import a\n\nx = 1\n"),
        ("import os\n\nimport b\n\nx = 1\n", "import os\n\nimport b\nfrom m import a\n\nx = 1\n"),
        ('"""Doc."""\n\nfrom n import b\n', '"""Doc."""\n\nfrom m import a\nfrom n import b\n'),
        ("import os\n\nfrom n import b\n", "import os\n\nfrom m import a\nfrom n import b\n"),
        ("from n import b\n", "from m import a\nfrom n import b\n"),
        ("from n import b\r\n", "from m import a\r\nfrom n import b\r\n"),
        ("from m import b as c\n", "from m import b as c\nfrom m import a\n"),
    ],
)
def test_imports(source, edited):
    """A name joins the import of its module, or gets one where it belongs; one that is there is left alone."""
    assert import_names(source, "m", ["a"]) == edited


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        ("app = App(A())", "app = App(A(), B())"),
        ("app = App()", "app = App(B())"),
        ("app = App(settings=s)", "app = App(B(), settings=s)"),
        ("é = 1; app = App(\n    A(),\n)", "é = 1; app = App(\n    A(), B(),\n)"),
    ],
)
def test_arguments(source, edited):
    """An argument goes behind those by position."""
    assert add_argument(source, "App", "B()") == edited


def test_arguments_of_nothing():
    """Without such a call nothing is guessed."""
    with pytest.raises(InvalidArgument):
        add_argument("app = make()", "App", "B()")


def test_services():
    """Classes that stand on Service are found, however it was imported."""
    source = "class A(Service): ...\nclass B(service.Service, name='b'): ...\nclass C: ...\n"
    assert services_in(source) == ["A", "B"]


@pytest.mark.parametrize("shape", ["unary", "server-stream", "client-stream", "bidi"])
def test_declared_methods_are_methods(shape):
    """What is generated is a method whose contract can be read, of the shape that was asked for."""
    declared = Declaration("send_all", (("part", "str"),), "int", shape, "post", "/parts", public=True)
    source = "".join(f"from {module} import {', '.join(each)}\n" for module, each in declared.imports.items())
    text = "\n".join("    " + line for line in declared.text().splitlines())
    module = types.ModuleType("parts")
    module.Service = Service
    exec(f"{source}class Parts(Service):\n{text}\n", vars(module))  # noqa: S102
    parts = module.Parts
    method = parts.contract().methods["SendAll"]
    assert method.kind.value == shape.replace("-", "_")
    assert method.binding.path == "/parts"


def test_long_declarations_are_broken():
    """Parameters that are too many for one line have lines of their own."""
    declared = Declaration("send", tuple((f"parameter_{number}", "str") for number in range(6)))
    lines = declared.text().splitlines()
    assert lines[1:4] == ["async def send(", "    self,", "    parameter_0: str,"]
    assert lines[8:10] == ["    parameter_5: str,", ") -> None:"]


@pytest.mark.parametrize(
    "told",
    [
        {"name": "Get"},
        {"name": "class"},
        {"name": "contract"},
        {"name": "a", "parameters": (("self", "str"),)},
        {"name": "a", "parameters": (("x", "__import__('os')"),)},
        {"name": "a", "returns": "str]"},
        {"name": "a", "shape": "bidi", "returns": "int"},
        {"name": "a", "shape": "server-stream"},
        {"name": "a", "summary": 'x"""'},
        {"name": "a", "verb": "get", "path": "orders"},
    ],
)
def test_bad_declarations(told):
    """What cannot be a method, or would be more than one, is refused."""
    with pytest.raises(InvalidArgument) as refused:
        Declaration(**told)
    assert refused.value.code == "invalid_declaration"
