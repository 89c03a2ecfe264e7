"""What there is to run in a directory."""

from pathlib import Path

import pytest

from headgate.kit.controls.faults import InvalidArgument, NotFound
from headgate.service.dev.workspace import load_workspace


def written(folder: Path, **files: str) -> Path:
    """Files below a folder; `__` in names is `/`, and `_py` the ending."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py").replace("_toml", ".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def apps(folder: Path) -> dict[str, str]:
    """Targets by name."""
    return {each.name: each.target for each in load_workspace(folder).ordered()}


def test_declared(tmp_path):
    """Tables of pyproject.toml say what runs, with what, and after what."""
    text = """
    [tool.headgate.apps.orders]
    target = "orders.app:app"
    depends = ["payments"]
    port = 8081
    env = { LOG_LEVEL = "debug" }
    [tool.headgate.apps.payments]
    target = "payments.app:app"
    """
    workspace = load_workspace(written(tmp_path, pyproject_toml=text, src__orders__app_py=""))
    first, second = workspace.ordered()
    assert (first.name, second.name) == ("payments", "orders")
    assert (second.port, second.environment, second.paths) == (8081, {"LOG_LEVEL": "debug"}, (tmp_path / "src",))
    assert [each.name for each in workspace.ordered(["orders"])] == ["orders"]


def test_members(tmp_path):
    """A workspace has the applications of its members, each in its own directory."""
    member = '[tool.headgate.apps.{0}]\ntarget = "{0}.app:app"\n'
    written(
        tmp_path,
        pyproject_toml='[tool.headgate.workspace]\nmembers = ["services/*"]\n',
        services__a__pyproject_toml=member.format("a"),
        services__b__app_py="app = App()\n",
    )
    found = {each.name: each.directory for each in load_workspace(tmp_path).apps}
    assert found == {"a": tmp_path / "services" / "a", "b": tmp_path / "services" / "b"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"shop__app_py": "app = App(Orders())"}, {"shop": "shop.app:app"}),
        ({"src__shop__main_py": "web: App = service.App()\njobs = App()"}, None),
        ({"service_py": "class Orders(Service): ..."}, {"": "service:Orders"}),
        ({"shop__api_py": "class A(Service): ...", "shop__app_py": "app = App()"}, {"shop": "shop.app:app"}),
        ({"shop__app_py": "app = App(", "shop__api_py": "class A(Service): ..."}, {"shop": "shop.api:A"}),
    ],
)
def test_found(tmp_path, files, found):
    """Without tables, modules are read for applications, and without these for services; none is imported."""
    told = apps(written(tmp_path, **files))
    if found is None:
        assert told == {"shop-web": "shop.main:web", "shop-jobs": "shop.main:jobs"}
    else:
        assert list(told.values()) == list(found.values())


def test_nothing(tmp_path):
    """A directory without any says how one is made."""
    with pytest.raises(NotFound) as refused:
        load_workspace(tmp_path)
    assert refused.value.code == "nothing_to_run"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('[tool.headgate.apps.a]\ntarget = "x"', "/apps/a/target"),
        ('[tool.headgate.apps.A]\ntarget = "a:a"', "/apps/A"),
        ("[tool.headgate.apps.a]\nport = 1", "/apps/a/target"),
        ('[tool.headgate.apps.a]\ntarget = "a:a"\nprot = 1', "/apps/a/prot"),
        ('[tool.headgate.apps.a]\ntarget = "a:a"\nport = 70000', "/apps/a/port"),
        ('[tool.headgate.apps.a]\ntarget = "a:a"\ndepends = ["b"]', "/apps/a/depends"),
        ('[tool.headgate.apps.a]\ntarget = "a:a"\ndepends = ["a"]', "/apps/a/depends"),
        ('[tool.headgate.workspace]\nmembers = ["../x"]', "/workspace/members/0"),
        ('[tool.headgate.workspace]\nmembers = ["nope"]', "/workspace/members/0"),
        ("[tool.headgate", ""),
    ],
)
def test_wrong(tmp_path, text, pointer):
    """What cannot be is told with a pointer into the tables."""
    with pytest.raises(InvalidArgument) as refused:
        load_workspace(written(tmp_path, pyproject_toml=text))
    assert refused.value.code == "invalid_workspace"
    assert [each.pointer for each in refused.value.violations] == [pointer]


def test_circles(tmp_path):
    """Applications that wait for each other are refused, with the way round."""
    text = "".join(
        f'[tool.headgate.apps.{one}]\ntarget = "a:a"\ndepends = ["{other}"]\n'
        for one, other in (("a", "b"), ("b", "c"), ("c", "a"))
    )
    with pytest.raises(InvalidArgument, match="a -> b -> c -> a"):
        load_workspace(written(tmp_path, pyproject_toml=text))


def test_ports_are_given_once(tmp_path):
    """Two applications cannot declare one port."""
    text = "".join(f'[tool.headgate.apps.{name}]\ntarget = "a:a"\nport = 8081\n' for name in "ab")
    with pytest.raises(InvalidArgument, match="a has port 8081 as well"):
        load_workspace(written(tmp_path, pyproject_toml=text))
