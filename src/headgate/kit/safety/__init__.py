"""Content safety: what comes in and what goes out is judged before it is passed on.

A `Gate` asks its scorers for the probability of each category of unwanted content and blocks, redacts or
flags what reaches the threshold, in whole texts and in streams. `headgate.kit.safety.asgi` and
`headgate.kit.safety.grpc` put a gate before and behind an application; `gate_from` makes one of settings.

    gate = Gate([BuiltinScorer()], threshold=0.8, action="block")
    judgement = await gate.check_input(prompt)       # raises PermissionDenied, code content_blocked
    async for text in gate.stream(chunks):           # text is released once it was judged
        ...
"""

from headgate.kit.safety.gate import Gate
from headgate.kit.safety.judgement import Action, Judgement, Observer, OnError, Scorer, Side, Verdict

__all__ = ["Action", "Gate", "Judgement", "Observer", "OnError", "Scorer", "Side", "Verdict"]
