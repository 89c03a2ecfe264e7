"""What `status`, `--wait` and the imports print, against an API that answers as wanted."""

import json
import os

import pytest

from tests.cli.api import problem

DATAPLANES = "GET /api/v1/native/dataplanes"
CHANGES = "POST /api/v1/native/changes"
OUTCOME = {
    "team": "default",
    "revision": 7,
    "dry_run": False,
    "changed": True,
    "diffs": [{"kind": "cluster", "name": "hello", "what": "created", "before": None, "after": {}, "etag": '"7"'}],
}
TYPE = {"wanted": "aa", "acknowledged": "aa", "in_sync": True, "resources": 1, "waiting": {}}
DATAPLANE = {
    "id": "edge-1",
    "team": "default",
    "scope": "team",
    "version": "1.40.0",
    "mode": "delta",
    "replica": "r",
    "connected": True,
    "first_seen": "2026-01-01T00:00:00Z",
    "last_seen": "2026-01-01T00:00:00Z",
    "revision_wanted": 7,
    "revision_acked": 7,
    "types": {"cds": TYPE},
    "refused": [],
    "state": "in_sync",
}
REFUSAL = {
    "type": "lds",
    "resource": "default/web",
    "version": "bb",
    "message": "the port is taken",
    "at": "2026-01-01T00:00:00Z",
    "kind": "listener",
    "name": "web",
    "pointer": "/port",
    "last_good_version": "aa",
}
REFUSED = {**DATAPLANE, "id": "edge-2", "revision_acked": 6, "state": "refused", "refused": [REFUSAL]}


def page(*items):
    """Return a page of a list."""
    return {"items": list(items), "total": len(items), "next_cursor": ""}


def rows(text):
    """Return the words of each line."""
    return [line.split() for line in text.splitlines()]


@pytest.fixture
def document(tmp_path):
    """A document to apply."""
    file = tmp_path / "hello.json"
    file.write_text(json.dumps({"kind": "cluster", "name": "hello", "spec": {}}))
    return file


def test_status_of_all(headgate, api):
    """Each dataplane is a line with its state and revisions, and refusals follow with place and reason."""
    api.answers[DATAPLANES] = page(DATAPLANE, REFUSED)
    result = headgate("status")
    assert result.code == 1
    assert ["edge-1", "in", "sync", "7", "7", "0", "1.40.0", "delta", "now"] in rows(result.out)
    assert ["edge-2", "REFUSED", "7", "6", "1", "1.40.0", "delta", "now"] in rows(result.out)
    assert "edge-2 refused listener web/port: the port is taken\n  the last good version stays in use" in result.out


def test_status_of_none(headgate, api):
    """Without any dataplane it is said how to start one."""
    result = headgate("status")
    assert (result.code, result.out.strip()) == (0, "no dataplane has connected yet; `headgate envoy` starts one")


def test_status_of_one(headgate, api):
    """One dataplane is shown type by type, with what is held back and for what."""
    held = {**TYPE, "in_sync": False, "waiting": {"default/web": ["default/new"]}}
    api.answers["GET /api/v1/native/dataplanes/edge-1"] = {**DATAPLANE, "types": {"cds": TYPE, "rds": held}}
    result = headgate("status", "edge-1")
    assert result.code == 0
    assert "default/web for default/new" in result.out


def test_status_shows_the_processes_here(headgate, api, tmp_path):
    """Where `headgate up` runs, its processes are shown too."""
    child = {"name": "envoy", "state": "live", "pid": 1, "restarts": 3, "version": "1.40.0", "reason": ""}
    (tmp_path / ".headgate").mkdir()
    here = {"api": api.url, "pid": os.getpid(), "children": [child]}
    (tmp_path / ".headgate" / "platform.json").write_text(json.dumps(here))
    assert ["envoy", "live", "1", "3", "1.40.0", "-"] in rows(headgate("status").out)
    (tmp_path / ".headgate" / "platform.json").write_text(json.dumps({**here, "pid": 2**22}))
    assert "1.40.0" not in headgate("status").out


def test_waits_for_acknowledgement(headgate, api, document):
    """After a write the command waits until every connected dataplane has the revision, and names them."""
    answers = iter([page({**DATAPLANE, "revision_acked": 6}), page(DATAPLANE)])
    api.answers |= {CHANGES: OUTCOME, DATAPLANES: lambda _: next(answers)}
    result = headgate("apply", "-f", document)
    assert result.code == 0
    assert "acknowledged by 1 Envoy (edge-1)" in result.out
    assert api.last("POST").json["changes"] == [{"operation": "put", "kind": "cluster", "name": "hello", "spec": {}}]


def test_says_who_refused(headgate, api, document):
    """A dataplane that refuses the revision makes the command fail at once, with the place and the reason."""
    api.answers |= {CHANGES: OUTCOME, DATAPLANES: page(DATAPLANE, REFUSED)}
    result = headgate("apply", "-f", document, "--wait", "60")
    assert result.code == 1
    assert "revision 7 is stored, but refused by edge-2" in result.err
    assert "edge-2: listener web/port: the port is taken" in result.err


def test_waits_no_longer_than_told(headgate, api, document):
    """A dataplane that does not acknowledge in time is named."""
    api.answers |= {CHANGES: OUTCOME, DATAPLANES: page({**DATAPLANE, "revision_acked": 6})}
    result = headgate("apply", "-f", document, "--wait", "0.2")
    assert result.code == 1
    assert "not acknowledged by edge-1 within 0.2 s" in result.err


def test_wait_zero_does_not_ask(headgate, api, document):
    """--wait 0 does not wait."""
    api.answers |= {CHANGES: OUTCOME, DATAPLANES: problem(500, "internal", "nobody may ask")}
    assert headgate("apply", "-f", document, "--wait", "0").code == 0


def test_gone_dataplanes_do_not_count(headgate, api, document):
    """A dataplane that is not connected is not waited for."""
    gone = {**DATAPLANE, "connected": False, "revision_acked": 1, "state": "disconnected"}
    api.answers |= {CHANGES: OUTCOME, DATAPLANES: page(gone)}
    result = headgate("apply", "-f", document)
    assert (result.code, "no Envoy is connected" in result.out) == (0, True)


def test_json_output_is_only_json(headgate, api, document):
    """With --output json standard output holds one document and nothing else."""
    api.answers |= {CHANGES: OUTCOME, DATAPLANES: page(DATAPLANE)}
    result = headgate("-o", "json", "apply", "-f", document)
    assert json.loads(result.out) == OUTCOME
    assert "acknowledged" in result.err


def test_watch_until_interrupted(headgate, api, monkeypatch):
    """--watch asks again and again until Ctrl-C, which is no error to explain."""
    monkeypatch.setattr("headgate.cli.status.time.sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    result = headgate("status", "--watch")
    assert (result.code, "no dataplane" in result.out, result.err.strip()) == (130, True, "")
