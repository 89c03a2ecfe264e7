"""get, apply, edit, delete, history and restore, against a real control plane."""

import json
import sys

import pytest
import yaml

CLUSTER = {"endpoints": [{"address": "127.0.0.1", "port": 3001}]}
ROUTES = {
    "virtual_hosts": [
        {
            "name": "default",
            "domains": ["*"],
            "routes": [{"name": "hello", "match": {"path": {"prefix": "/"}}, "forward": {"cluster": "hello"}}],
        }
    ]
}
DOCUMENTS = [
    {"kind": "cluster", "name": "hello", "spec": CLUSTER},
    {"kind": "route_config", "name": "web", "spec": ROUTES},
]


@pytest.fixture
def applied(plane, headgate, tmp_path):
    """A team that has a cluster and a route config."""
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(DOCUMENTS))
    result = headgate("apply", "-f", tmp_path / "all.yaml")
    assert result.code == 0, result.err
    return result


def test_apply_is_one_revision(applied, headgate):
    """All documents of a file become one revision, and the output says what was done."""
    assert "+ cluster hello" in applied.out
    assert "revision 1: " in applied.out
    assert "no Envoy is connected" in applied.out
    assert [entry["revision"] for entry in json.loads(headgate("-o", "json", "history").out)["items"]] == [1]


def test_apply_again_changes_nothing(applied, headgate, tmp_path):
    """Applying the same documents again makes no revision."""
    result = headgate("apply", "-f", tmp_path / "all.yaml")
    assert (result.code, result.out.splitlines()[0]) == (0, "nothing changed (revision 1)")


def test_apply_all_or_none(applied, headgate, tmp_path):
    """One bad document keeps the others from being stored, and is pointed at."""
    documents = [{"kind": "cluster", "name": "b", "spec": CLUSTER}, {"kind": "cluster", "name": "c", "spec": {"x": 1}}]
    (tmp_path / "bad.json").write_text(json.dumps(documents))
    result = headgate("apply", "-f", tmp_path / "bad.json")
    assert result.code == 3
    assert "/changes/1/spec/x" in result.err
    assert "b" not in headgate("get", "clusters").out.split()


def test_dry_run_changes_nothing(applied, headgate, tmp_path):
    """--dry-run shows the fields that would change and stores nothing."""
    changed = {**CLUSTER, "connect_timeout_ms": 1234}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"kind": "cluster", "name": "hello", "spec": changed}))
    result = headgate("apply", "-f", tmp_path / "c.yaml", "--dry-run")
    assert "    /connect_timeout_ms: absent -> 1234" in result.out
    assert "dry run: 1 updated" in result.out
    assert "1234" not in headgate("get", "cluster", "hello").out


def test_get_prints_what_apply_reads(applied, headgate, tmp_path):
    """What `get` prints of a resource is a document for `apply`."""
    result = headgate("get", "route-config", "web")
    assert yaml.safe_load(result.out) == DOCUMENTS[1]
    (tmp_path / "again.yaml").write_text(result.out)
    assert headgate("apply", "-f", tmp_path / "again.yaml").out.startswith("nothing changed")


@pytest.mark.parametrize("word", ["cluster", "clusters", "Cluster"])
def test_kinds_have_several_names(applied, headgate, word):
    """A kind may be written in the singular or the plural."""
    assert "hello" in headgate("get", word).out


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_list_as_data(applied, headgate, form):
    """--output json and yaml print the API's documents."""
    (item,) = yaml.safe_load(headgate("-o", form, "get", "clusters").out)["items"]
    assert (item["name"], item["spec"]) == ("hello", CLUSTER)


def test_unknown_kind(plane, headgate):
    """A kind that is none is wrong usage."""
    result = headgate("get", "pods")
    assert result.code == 2
    assert "clusters, route-configs, listeners, secrets" in result.err


def test_delete_refuses_what_is_in_use(applied, headgate):
    """A cluster that a route names is not deleted, and the route is named."""
    result = headgate("delete", "cluster", "hello", "--yes")
    assert result.code == 3
    assert "web" in result.err


def test_delete_asks(applied, headgate):
    """Without a terminal to ask on, nothing is deleted unless --yes says so."""
    result = headgate("delete", "route-config", "web")
    assert result.code == 2
    assert "--yes" in result.err
    assert headgate("delete", "route-config", "web", "-y").out.startswith("route_config web deleted in revision 2")


def test_edit(applied, headgate, monkeypatch, tmp_path):
    """The editor gets the document; what it saves is written."""
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, pathlib; f = pathlib.Path(sys.argv[1]); f.write_text(f.read_text().replace('3001', '3002'))"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    assert "changed in revision 2" in headgate("edit", "cluster", "hello").out
    assert "3002" in headgate("get", "cluster", "hello").out


def test_edit_of_nothing(applied, headgate, monkeypatch):
    """An editor that saves nothing new writes nothing."""
    monkeypatch.setenv("EDITOR", "true")
    assert headgate("edit", "cluster", "hello").out.strip() == "nothing changed"


def test_history_and_restore(applied, headgate):
    """A revision shows what it changed, and can be restored."""
    headgate("delete", "route-config", "web", "-y")
    table = headgate("history").out
    assert "native" in table
    assert "- route web/default/hello" in headgate("history", "2").out
    assert headgate("restore", "1", "--dry-run").code == 0
    result = headgate("restore", "1", "--yes")
    assert "revision 3: " in result.out
    assert headgate("get", "route-config", "web").code == 0


def test_restore_asks(applied, headgate):
    """Going back needs a yes."""
    assert headgate("restore", "1").code == 2


def test_history_of_nothing(plane, headgate):
    """A new team has no history, and an unknown revision is refused."""
    assert headgate("history").out.strip() == "no revisions yet"
    assert headgate("history", "99").code == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "holds no documents"),
        ("just text", "holds no documents"),
        ("a: [", "neither YAML nor JSON"),
        ("kind: cluster\nspec: {}\n", "a name is missing"),
        ("kind: cluster\nname: a\nspce: {}\n", "unknown field 'spce'"),
        ("kind: pod\nname: a\nspec: {}\n", "none of clusters"),
    ],
)
def test_apply_of_nonsense(plane, headgate, tmp_path, content, why):
    """What is no document of ours is wrong usage, said with the file's name."""
    (tmp_path / "bad.yaml").write_text(content)
    result = headgate("apply", "-f", tmp_path / "bad.yaml")
    assert result.code == 2
    assert why in result.err


def test_apply_of_no_file(plane, headgate):
    """A file that is not there is said to be so."""
    result = headgate("apply", "-f", "nowhere.yaml")
    assert result.code == 1
    assert "nowhere.yaml" in result.err
