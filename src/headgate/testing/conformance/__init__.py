"""Does a hardened service keep its promises? A suite any app can run against itself.

    pytest --headgate-conformance shop.main:app          in the project's own tests
    python -m headgate.testing.conformance shop.main:app
    python -m headgate.testing.conformance http://127.0.0.1:8080

Every check is a rule with one sentence (its docstring). Those of group `any` hold for each service; the
others need the small order service of `headgate.testing.conformance.orders`, which is written for all four
frameworks in `apps` so that servers and frameworks can be compared.
"""

from headgate.testing.conformance.suite import CHECKS, Check, Outcome, Target, run_checks

__all__ = ["CHECKS", "Check", "Outcome", "Target", "run_checks"]
