"""A changed cluster warms until its endpoints come: row 40 for streams of one type each."""

import pytest

from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT
from tests.scenarios.xds.rig import SEPARATE


@pytest.mark.parametrize("mode", SEPARATE)
async def test_40_endpoints_look_new_when_their_cluster_does(client, source):
    """On a stream of their own endpoints come again, too, when their cluster changed: their version covers it."""
    compiler = TeamCompiler("red", system_ca="")
    name = "red/a"

    def compiled(timeout):
        spec = {"endpoints": [{"address": "127.0.0.1", "port": 1}], "connect_timeout_ms": timeout}
        snapshot = compiler.apply([RowChange(None, Row("cluster", "a", spec))], timeout)
        return snapshot.resources[CLUSTER][name], snapshot.resources[ENDPOINT][name]

    old, load = compiled(1000)
    source.put(old, load)
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [old])
    await client.request(ENDPOINT, name)
    await client.accept(ENDPOINT, [load])
    await client.silence()
    new, same = compiled(2000)
    assert same.body == load.body
    source.put(new, same)
    await client.accept(CLUSTER, [new])
    await client.accept(ENDPOINT, [same])
    await client.silence()
