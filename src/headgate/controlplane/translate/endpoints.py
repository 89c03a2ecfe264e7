"""Endpoints into a ClusterLoadAssignment: grouped by priority and locality, in the order they were written.

Source: envoy.config.endpoint.v3.ClusterLoadAssignment.
"""

from collections.abc import Sequence

from headgate.controlplane.model.cluster import Endpoint
from headgate.controlplane.translate.wire import Shape, address, value


def load_assignment(cluster_name: str, endpoints: Sequence[Endpoint]) -> Shape:
    """Return the assignment. A locality weighs as much as its endpoints together.

    Envoy spreads a priority's load over all its endpoints by their own weights; clients that choose a
    locality first (gRPC) need the locality's weight to come to the same shares.
    """
    groups: dict[tuple[int, str, str, str], list[Endpoint]] = {}
    for endpoint in endpoints:
        where = endpoint.locality
        groups.setdefault((endpoint.priority, where.region, where.zone, where.sub_zone), []).append(endpoint)
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    return {"cluster_name": cluster_name, "endpoints": [_locality(key, members) for key, members in ordered]}


def _locality(key: tuple[int, str, str, str], members: Sequence[Endpoint]) -> Shape:
    priority, region, zone, sub_zone = key
    return {
        "locality": {"region": region, "zone": zone, "sub_zone": sub_zone},
        "priority": priority,
        "load_balancing_weight": value(sum(member.weight for member in members)),
        "lb_endpoints": [
            {
                "endpoint": {"address": address(member.address, member.port)},
                "load_balancing_weight": value(member.weight),
            }
            for member in members
        ],
    }
