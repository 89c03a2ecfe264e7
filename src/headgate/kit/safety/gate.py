"""The gate: a text is judged, and then passed on, changed, reported or refused.

A category counts when its probability is at least its threshold: `thresholds[category]`, else `threshold`.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.controls.window import SHORTEST_WINDOW
from headgate.kit.safety.judgement import Action, Judgement, Observer, OnError, Scorer, Side, Verdict
from headgate.kit.safety.panel import Panel
from headgate.kit.safety.refusals import blocked, unjudged
from headgate.kit.safety.session import Session

_VERDICT: dict[Action, Verdict] = {"block": "block", "redact": "redact", "flag": "flag"}


class Gate:
    """Judges texts with `scorers`, all of them at once.

    `timeout` is in seconds, for each scorer and text; `hold_back` is the most characters of a stream that wait
    to be judged, and twice the length up to which a finding is seen whole; `marker` stands for what was redacted.
    """

    def __init__(
        self,
        scorers: Sequence[Scorer],
        *,
        threshold: float = 0.8,
        thresholds: Mapping[str, float] | None = None,
        action: Action = "block",
        on_error: OnError = "closed",
        timeout: float = 2.0,
        hold_back: int = 400,
        marker: str = "[removed]",
        observer: Observer | None = None,
    ) -> None:
        _validate(scorers, {"threshold": threshold, **(thresholds or {})}, action, on_error, timeout, hold_back)
        self.threshold = threshold
        self.thresholds = dict(thresholds or {})
        self.action: Action = action
        self.on_error: OnError = on_error
        self.hold_back = hold_back
        self.marker = marker
        self._observer = observer
        self._panel = Panel(scorers, timeout=timeout, observer=observer)

    async def judge(self, text: str) -> Judgement:
        """Judge `text` and do nothing about it. Fails closed or open as the gate does.

        Raises Unavailable (`content_unjudged`) when it fails closed, unless what was found suffices.
        """
        if not text or text.isspace():
            return Judgement("pass", {}, text=text)
        scores, failed = await self._panel.score(text)
        over = tuple(sorted(category for category, score in scores.items() if score >= self._threshold(category)))
        if failed and not over and self.on_error == "closed":
            raise unjudged(f"no answer from: {', '.join(failed)}")
        return Judgement(_VERDICT[self.action] if over else "pass", scores, over, failed, text)

    async def check_input(self, text: str) -> Judgement:
        """Judge what a caller sent. The judgement's `text` is what may be passed on.

        Raises PermissionDenied (`content_blocked`), or Unavailable (`content_unjudged`).
        """
        return await self.check(text, "input")

    async def check_output(self, text: str) -> Judgement:
        """Judge what is to be sent to a caller, otherwise as `check_input`."""
        return await self.check(text, "output")

    async def check(self, text: str, side: Side) -> Judgement:
        """Judge a whole text of one side."""
        judgement = await self.judge(text)
        self.report(side, judgement)
        if judgement.verdict == "block":
            raise blocked(side, judgement.categories)
        if judgement.verdict != "redact":
            return judgement
        return Judgement("redact", judgement.scores, judgement.categories, judgement.failed, await self.redacted(text))

    async def check_all(self, texts: Mapping[str, str], side: Side) -> dict[str, str]:
        """Judge texts that belong together, keyed by their JSON pointers: returns those that were redacted.

        What follows a NUL in a key tells texts with the same pointer apart.
        They are judged as one text first, and one by one only when something was found. A fault has a violation
        for each text to blame; it has the pointer "" when none is by itself.
        """
        judgement = await self.judge("\n".join(texts.values()))
        self.report(side, judgement)
        if judgement.verdict in {"pass", "flag"}:
            return {}
        to_blame = await self._to_blame(list(texts.items()), judgement)
        if judgement.verdict == "block":
            pointers = {pointer.partition("\0")[0]: found for pointer, found in to_blame.items()}
            raise blocked(side, judgement.categories, pointers or {"": judgement.categories})
        redacted = {pointer: await self.redacted(texts[pointer]) for pointer in (to_blame or texts)}
        rest = "\n".join(redacted.get(pointer, text) for pointer, text in texts.items()).replace(self.marker, " ")
        if (await self.judge(rest)).clean:
            return redacted
        # What is left holds something between its texts.
        return dict.fromkeys(texts, self.marker)

    async def _to_blame(self, texts: list[tuple[str, str]], together: Judgement) -> dict[str, tuple[str, ...]]:
        """Those of `texts`, judged `together` and found wanting, that are so alone: by halves, to judge few."""
        if len(texts) == 1:
            return {texts[0][0]: together.categories}
        middle = len(texts) // 2
        found: dict[str, tuple[str, ...]] = {}
        for half in (texts[:middle], texts[middle:]):
            judgement = await self.judge("\n".join(text for _, text in half))
            if not judgement.clean:
                found |= await self._to_blame(half, judgement)
        return found

    async def redacted(self, text: str) -> str:
        """`text`, in which something was found, with the sentences to blame replaced by the marker."""
        session = Session(self, None)
        pieces = [piece async for piece in session.feed(text)]
        pieces += [piece async for piece in session.finish()]
        cleaned = "".join(piece.text for piece in pieces)
        rest = "".join(piece.text if piece.untouched else " " for piece in pieces)
        return self.marker if cleaned == text or not (await self.judge(rest)).clean else cleaned

    async def stream(self, chunks: AsyncIterable[str], side: Side = "output") -> AsyncGenerator[str, None]:
        """Pass a running text on, each part once it was judged together with what follows it.

        What is passed on, and what is refused, depends on the text alone, not on how it is cut into chunks. At
        most `hold_back` characters wait. `chunks` is closed in every case. Raises as `check_output` does.
        """
        session = Session(self, side)
        try:
            async for chunk in chunks:
                async for piece in session.feed(chunk):
                    if piece.text:
                        yield piece.text
            async for piece in session.finish():
                if piece.text:
                    yield piece.text
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def report(self, side: Side, judgement: Judgement) -> None:
        """Tell the observer of a judgement."""
        if self._observer is not None:
            self._observer.judged(side, judgement)

    def _threshold(self, category: str) -> float:
        return self.thresholds.get(category, self.threshold)

    async def aclose(self) -> None:
        """Close the connections of the scorers."""
        await self._panel.aclose()


def _validate(
    scorers: Sequence[Scorer],
    thresholds: Mapping[str, float],
    action: str,
    on_error: str,
    timeout: float,
    hold_back: int,
) -> None:
    names = [scorer.name for scorer in scorers]
    wrong = ""
    if not names:
        wrong = "it needs a scorer"
    elif len(set(names)) < len(names):
        wrong = f"two scorers have the same name: {', '.join(names)}"
    elif outside := [name for name, value in thresholds.items() if not 0.0 < value <= 1.0]:
        wrong = f"thresholds are above 0 and at most 1: {', '.join(outside)}"
    elif action not in _VERDICT:
        wrong = f"the action is block, redact or flag, not '{action}'"
    elif on_error not in {"closed", "open"}:
        wrong = f"on_error is closed or open, not '{on_error}'"
    elif timeout <= 0:
        wrong = "the timeout is more than 0 seconds"
    elif hold_back < SHORTEST_WINDOW:
        wrong = f"at least {SHORTEST_WINDOW} characters are held back"
    if wrong:
        raise InvalidArgument(f"the content gate is misconfigured: {wrong}", code="invalid_content_gate")
