"""What is asked on a terminal."""

import io
import sys

import pytest

from tests.cli.api import lines
from tests.cli.test_publish import DIFF, IMPORT, OUTCOME, REPORT

DELETE = "DELETE /api/v1/native/clusters/hello"


class Terminal(io.StringIO):
    """A standard input that somebody types on."""

    def isatty(self):
        """Say that it is a terminal."""
        return True


@pytest.fixture
def types(monkeypatch):
    """Type an answer."""
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(text))


def test_yes_goes_on(headgate, api, types):
    """A yes on the terminal is enough."""
    api.answers[DELETE] = {}
    types("y\n")
    assert headgate("delete", "cluster", "hello").code == 0


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_no_stops(headgate, api, types, answer):
    """Anything but a yes stops, and nothing is sent."""
    types(answer)
    result = headgate("delete", "cluster", "hello")
    assert (result.code, "aborted" in result.err, api.asked) == (1, True, [])


def test_import_asks_before_it_removes(headgate, api, types, tmp_path):
    """On a terminal the routes that an import would remove are shown first, and a no changes nothing."""
    (tmp_path / "a.json").write_text("{}")
    removing = {**REPORT, "dry_run": True, "diffs": [{**DIFF, "what": "deleted"}]}
    api.answers[IMPORT] = lambda _: lines({"report": removing})
    types("n\n")
    result = headgate("import", "openapi", tmp_path / "a.json")
    assert (result.code, "- gateway/default/pets" in result.err) == (1, True)
    assert [asked.query["dry_run"] for asked in api.asked if asked.method == "POST"] == ["true"]


def test_first_import_does_not_ask(headgate, api, types, tmp_path):
    """An API that was never imported can remove nothing, and is not planned twice."""
    from tests.cli.api import problem

    (tmp_path / "a.json").write_text("{}")
    api.answers |= {
        IMPORT: lambda _: lines({"report": REPORT}),
        "GET /api/v1/platform/apis/pets": problem(404, "unknown_api", "none"),
    }
    types("")
    assert headgate("import", "openapi", tmp_path / "a.json", "--name", "pets").code == 0
    assert [asked.query["dry_run"] for asked in api.asked if asked.method == "POST"] == ["false"]


def test_import_with_yes_does_not_ask(headgate, api, types, tmp_path):
    """--yes goes straight on."""
    (tmp_path / "a.json").write_text("{}")
    api.answers[IMPORT] = lambda _: lines({"report": {**REPORT, **OUTCOME}})
    types("")
    assert headgate("import", "openapi", tmp_path / "a.json", "--yes").code == 0
