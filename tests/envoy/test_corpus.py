"""Every document of the corpus through a real Envoy: every routed operation is reached as it was asked."""

from collections import Counter

import pytest

from headgate.testing.corpus import reach
from headgate.testing.envoy import require_envoy
from tests.corpus import DOCUMENTS, read

pytestmark = pytest.mark.envoy


@pytest.mark.timeout(300)
async def test_every_routed_operation_is_reached(tmp_path):
    """Each operation is accounted for; each routed one arrives at the upstream, by its own route, as it was sent."""
    require_envoy()
    results = await reach({name: read(name) for name in DOCUMENTS}, tmp_path)
    assert [result.refusal for result in results if result.refusal] == []
    failures = [failure for result in results for failure in result.failures]
    assert failures[:5] == []
    assert all(result.operations == result.accounted for result in results)
    unrouted = Counter[str]()
    for result in results:
        if not result.name.startswith("made/"):
            unrouted.update(result.unrouted)
    assert unrouted == {}
    assert sum(result.reached for result in results) > 3_000
