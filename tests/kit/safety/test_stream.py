"""The gate on running texts: the same whatever the chunks, bounded, and nothing out that is blocked."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import Fault, PermissionDenied, Unavailable
from headgate.kit.safety import Gate
from headgate.kit.safety.session import Session, Trail
from tests.kit.safety.conftest import Broken, Stuck, Told, Words

WORD = "badger"
LONG = "ham and eggs"
parts = st.sampled_from(
    ["bad", "ger", WORD, LONG, "ham and", " eggs", "fine ", "No. ", "x", "\n", ". ", "a" * 30, " ", "é"]
)
texts = st.lists(parts, max_size=40).map("".join)


@st.composite
def cut_texts(draw):
    """A text, and two ways to cut it into chunks."""
    text = draw(texts)
    cuts = st.lists(st.integers(0, len(text)), max_size=12).map(sorted)
    return text, *(
        [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)] for ends in (draw(cuts), draw(cuts))
    )


async def stream(chunks):
    """A source of these chunks."""
    for chunk in chunks:
        yield chunk


async def run(gate, chunks):
    """What was released, and the code of the fault it ended with."""
    released = []
    try:
        async for text in gate.stream(stream(chunks)):
            released.append(text)  # noqa: PERF401 - a comprehension loses what came before a fault
    except Fault as fault:
        return "".join(released), fault.code
    return "".join(released), ""


def gate(action, **others):
    """A gate that finds two words."""
    return Gate([Words(WORD, LONG)], action=action, hold_back=40, **others)


@settings(max_examples=300, deadline=None)
@given(cut_texts(), st.sampled_from(["block", "redact", "flag"]))
def test_chunks_make_no_difference(cut, action):
    """However a text is cut, what is released and how it ends are the same."""
    _, first, second = cut
    assert asyncio.run(run(gate(action), first)) == asyncio.run(run(gate(action), second))


@settings(max_examples=300, deadline=None)
@given(cut_texts(), st.sampled_from(["block", "redact"]))
def test_nothing_blocked_is_ever_released(cut, action):
    """What is released holds nothing of what is not allowed, and a text without it passes whole."""
    text, chunks, _ = cut
    released, fault = asyncio.run(run(gate(action), chunks))
    assert WORD not in released
    assert LONG not in released
    bad = WORD in text or LONG in text
    assert fault == ("content_blocked" if bad and action == "block" else "")
    if not bad:
        assert released == text
    if action == "block":
        assert text.startswith(released)


@settings(max_examples=300, deadline=None)
@given(cut_texts(), st.integers(40, 90))
def test_the_hold_back_is_bounded(cut, hold_back):
    """Before more is asked for, at most `hold_back` characters of what came are not out."""
    _, chunks, _ = cut

    async def measure():
        session = Session(Gate([Words("never")], hold_back=hold_back), "output")
        taken = released = 0
        for chunk in chunks:
            taken += len(chunk)
            async for piece in session.feed(chunk):
                released += len(piece.original)
            assert taken - released == session.held <= hold_back
        async for piece in session.finish():
            released += len(piece.original)
        assert (released, session.held) == (taken, 0)

    asyncio.run(measure())


async def test_a_word_split_over_chunks_is_caught():
    """A word that comes letter by letter blocks before its first letter is out."""
    released, fault = await run(gate("block"), list("so far so good and here it comes: bad") + list("ger. And on."))
    assert fault == "content_blocked"
    assert "comes: b" not in released


async def test_text_is_released_as_it_comes():
    """What was judged is out before the end of the text has come."""
    more = asyncio.Event()

    async def source():
        yield "All is well. " * 20
        await more.wait()

    got = gate("block").stream(source())
    assert (await anext(got)).startswith("All is well.")
    await got.aclose()


async def test_redaction_keeps_the_other_sentences():
    """Only the sentences to blame are replaced."""
    released, fault = await run(
        gate("redact"), ["A badger. ", "The sun is shining brightly. ", "All is well now. End."]
    )
    assert (released, fault) == ("[removed] The sun is shining brightly. All is well now. End.", "")


async def test_a_flagged_stream_passes_and_is_told_of_once():
    """A finding in two windows that overlap is told of once, the next one again."""
    told = Told()
    text = "A badger comes by. " + "All is well here. " * 12 + "A badger again. " + "All is well here. " * 12
    released, fault = await run(gate("flag", observer=told), [text])
    assert (released, fault) == (text, "")
    assert told.findings == [(WORD,), (WORD,)]


async def test_a_stream_that_cannot_be_judged_stops():
    """Closed, a stream ends with a fault and nothing unjudged is out; open, it passes."""
    assert await run(Gate([Broken()]), ["All is well. " * 100]) == ("", "content_unjudged")
    text = "All is well. " * 100
    assert await run(Gate([Broken()], on_error="open"), [text]) == (text, "")


@pytest.mark.parametrize("leave", ["cancelled", "closed", "blocked"])
async def test_the_source_is_closed_whatever_happens(leave):
    """Cancelled, closed or blocked, a stream closes where its text comes from."""
    closed = asyncio.Event()

    async def source():
        try:
            while True:
                yield "a badger " if leave == "blocked" else "All is well. "
        finally:
            closed.set()

    scorer = Stuck() if leave == "cancelled" else Words(WORD)
    got = Gate([scorer], hold_back=40).stream(source())
    if leave == "cancelled":
        task = asyncio.create_task(anext(got))
        await scorer.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif leave == "closed":
        await anext(got)
        await got.aclose()
    else:
        with pytest.raises(PermissionDenied):
            await anext(got)
    assert closed.is_set()


async def test_a_failing_source_fails_the_stream():
    """The error of the source is the stream's, and what was held then is not let out."""

    async def source():
        yield "All is"
        raise Unavailable("gone", code="upstream_gone")

    got = gate("block").stream(source())
    with pytest.raises(Unavailable):
        await anext(got)


async def test_a_conversation_is_not_held_back():
    """Each message of a conversation is out at once, and judged with the end of the last."""
    trail = Trail(gate("block"), "input")
    assert await trail.check("all is bad") == "all is bad"
    with pytest.raises(PermissionDenied):
        await trail.check("ger and on")


async def test_a_conversation_is_redacted():
    """A message that completes what is not allowed is replaced; one that holds it loses its sentence."""
    trail = Trail(gate("redact"), "output")
    assert await trail.check("Well. A badger. Fine.") == "Well. [removed] Fine."
    assert await trail.check(" It is bad") == " It is bad"
    assert await trail.check("ger and on") == "[removed]"
    assert await trail.check(" and on") == " and on"


async def test_a_flagged_conversation_is_told_of_once():
    """A finding is told of with the message it is in, not with those after it."""
    told = Told()
    trail = Trail(gate("flag", observer=told), "input")
    for message in ("a badger", "a fine day", "so it goes"):
        assert await trail.check(message) == message
    assert told.findings == [(WORD,)]


async def test_others_have_their_turn():
    """A long text that comes in one piece does not keep the event loop from everything else."""
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await Gate([Words("badger")], action="redact", hold_back=40).check_output("All is well. " * 500 + "badger")
    task.cancel()
    assert turns > 20
