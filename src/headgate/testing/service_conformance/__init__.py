"""Does an application of services keep its promises on every wire? A suite any one can run against itself.

    python -m headgate.testing.service_conformance shop.main:app

Every rule is one sentence (its docstring), tried over every wire and codec. Those of group `any` hold for each
application; the others need the reference service, which has a method for everything a contract may say:

    async with reference(Way("socket", "json"), registry=registry, broker=broker, nats=url) as site:
        outcomes = await run_rules(site, ("reference", "hops", "events"))

Headgate's own tests run all of it over every wire, registry and broker.
"""

from headgate.testing.service_conformance.site import Site, application, reference
from headgate.testing.service_conformance.suite import RULES, WAYS, Outcome, Rule, Way, rules_for, run_rule, run_rules

__all__ = [
    "RULES",
    "WAYS",
    "Outcome",
    "Rule",
    "Site",
    "Way",
    "application",
    "reference",
    "rules_for",
    "run_rule",
    "run_rules",
]

# The table fills itself.
from headgate.testing.service_conformance import anyapp, events, faults, guards, hops, leaving, once, streams, values  # noqa: F401
