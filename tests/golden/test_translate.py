"""Golden pairs: what a team writes (`*.in.yaml`), and the Envoy resources it becomes (`*.out.yaml`).

`HEADGATE_REWRITE_GOLDEN=1 pytest tests/golden` writes the outputs anew; read the difference before committing it.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict

from headgate.controlplane.model.kinds import SPECS
from headgate.controlplane.model.rows import Row, RowChange, explode
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SHORT_NAMES, TYPES
from headgate.controlplane.translate.static import bootstrap, masked_route, static_cluster, static_listener
from headgate.controlplane.translate.tree import decoded
from headgate.dataplane.bootstrap import RUNTIME
from headgate.dataplane.lint import without_sds
from headgate.dataplane.validate import EnvoyValidator
from headgate.testing.envoy import require_envoy

PAIRS = Path(__file__).parent / "translate"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in PAIRS.glob("*.in.yaml"))
KINDS = {"clusters": "cluster", "route_configs": "route_config", "listeners": "listener", "secrets": "secret"}
CA = "-----BEGIN CERTIFICATE-----\nthe public authorities\n-----END CERTIFICATE-----\n"


def rows_of(case: str) -> list[Row]:
    """The rows of a team that wrote the documents of a case."""
    rows = []
    documents = yaml.safe_load((PAIRS / f"{case}.in.yaml").read_text())
    for plural, named in documents.items():
        kind = KINDS[plural]
        for name, document in named.items():
            SPECS[kind].model_validate(document)
            if kind == "route_config":
                document, routes = explode(name, document)  # noqa: PLW2901
                rows += [Row("route", route, spec, position) for position, (route, spec) in enumerate(routes)]
            rows.append(Row(kind, name, document))
    return rows


def translated(case: str) -> dict[str, list[dict]]:
    """The resources of a case, by type, each as proto JSON with what it refers to."""
    changes = [RowChange(None, row) for row in rows_of(case)]
    snapshot = TeamCompiler("team", system_ca=CA).apply(changes, 1)
    assert not snapshot.problems
    return {
        SHORT_NAMES[type_url]: [
            {
                "refs": sorted(f"{SHORT_NAMES[kind]} {name}" for kind, name in resource.refs),
                "resource": MessageToDict(decoded(type_url, resource.body), preserving_proto_field_name=True),
            }
            for resource in snapshot.resources[type_url].values()
        ]
        for type_url in TYPES
        if snapshot.resources[type_url]
    }


@pytest.mark.parametrize("case", CASES)
def test_translation(case):
    """A team's documents become exactly the resources that were reviewed."""
    wanted = PAIRS / f"{case}.out.yaml"
    # Through JSON: the proto library's own number types are unknown to YAML.
    plain = json.loads(json.dumps(translated(case)))
    text = yaml.safe_dump(plain, sort_keys=True, allow_unicode=True, width=110)
    if os.environ.get("HEADGATE_REWRITE_GOLDEN"):
        wanted.write_text(text)
    assert yaml.safe_load(text) == yaml.safe_load(wanted.read_text())


def test_every_output_has_its_input():
    """No golden output is left of a case that is gone."""
    assert sorted(path.name.removesuffix(".out.yaml") for path in PAIRS.glob("*.out.yaml")) == CASES


def static(case: str) -> dict:
    """The golden output of a case as a static bootstrap."""
    golden = yaml.safe_load((PAIRS / f"{case}.out.yaml").read_text())
    messages = {
        type_url: [
            ParseDict(item["resource"], decoded(type_url, b"")) for item in golden.get(SHORT_NAMES[type_url], [])
        ]
        for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)
    }
    endpoints = {message.cluster_name: message for message in messages[ENDPOINT]}
    for config in messages[ROUTE]:
        for host in config.virtual_hosts:
            routes = [masked_route(route) for route in host.routes]
            del host.routes[:]
            host.routes.extend(routes)
    return bootstrap(
        clusters=[static_cluster(message, endpoints.get(message.name)) for message in messages[CLUSTER]],
        listeners=[static_listener(message) for message in messages[LISTENER]],
        route_configs=messages[ROUTE],
    )


@pytest.mark.envoy
@pytest.mark.parametrize("case", CASES)
async def test_envoy_accepts_it(case, tmp_path):
    """A real Envoy accepts every golden output, and has no warning about any: nothing in it is deprecated."""
    assert await EnvoyValidator(require_envoy()).check(static(case)) is None
    file = tmp_path / "static.json"
    runtime = {"layers": [{"name": "headgate", "static_layer": dict(RUNTIME)}]}
    node = {"id": "golden", "cluster": "golden"}
    file.write_text(json.dumps(without_sds(static(case)) | {"node": node, "layered_runtime": runtime}))
    command = [require_envoy(), "--mode", "validate", "-c", file, "-l", "warning"]
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert (await child.communicate())[1].decode() == ""


def test_the_pairs_cover_every_field():
    """Every field of every model of a cluster, a route config and a listener stands in some golden input."""
    written: dict[type, set[str]] = {}
    for case in CASES:
        for plural, named in yaml.safe_load((PAIRS / f"{case}.in.yaml").read_text()).items():
            for document in named.values():
                _note(SPECS[KINDS[plural]].model_validate(document), written)
    missing = {
        f"{model.__name__}.{name}" for model, fields in written.items() for name in set(model.model_fields) - fields
    }
    assert missing == set()


def _note(value, written):
    if isinstance(value, list):
        for item in value:
            _note(item, written)
    elif hasattr(type(value), "model_fields"):
        written.setdefault(type(value), set()).update(value.model_fields_set)
        for name in type(value).model_fields:
            _note(getattr(value, name), written)
