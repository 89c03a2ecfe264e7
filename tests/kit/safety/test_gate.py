"""The gate on whole texts: thresholds, actions, failing scorers."""

import asyncio

import pytest

from headgate.kit.controls.faults import InvalidArgument, PermissionDenied, Unavailable
from headgate.kit.safety import Gate
from tests.kit.safety.conftest import Broken, Stuck, Told, Words


class Sure:
    """Gives every text the same scores."""

    def __init__(self, name="sure", **scores):
        self.name = name
        self.scores = scores

    async def score(self, text):
        return self.scores


async def test_content_at_its_threshold_is_blocked():
    """A category blocks when its probability is at least its threshold, and not below it."""
    gate = Gate([Sure(rude=0.8, crude=0.79)])
    with pytest.raises(PermissionDenied) as refused:
        await gate.check_input("hello")
    assert refused.value.code == "content_blocked"
    assert (await Gate([Sure(rude=0.79)]).check_input("hello")).verdict == "pass"


async def test_categories_have_thresholds_of_their_own():
    """A threshold for a category goes before the one for all."""
    gate = Gate([Sure(rude=0.5, crude=0.9)], thresholds={"rude": 0.5, "crude": 0.95})
    assert (await gate.judge("hello")).categories == ("rude",)


@pytest.mark.parametrize("side", ["input", "output"])
async def test_a_refusal_names_categories_and_never_the_text(side):
    """What the caller and the log are told holds the categories and no part of the text."""
    gate = Gate([Words("badger")])
    with pytest.raises(PermissionDenied) as refused:
        await gate.check("a secret badger runs", side)
    fault = refused.value
    told = f"{fault.message} {fault.hint} {fault.internal} {fault.violations} {fault!r}"
    assert "badger" in fault.message  # the name of the category
    assert "secret" not in told
    assert "runs" not in told


async def test_a_judgement_does_not_show_the_text():
    """The repr of a judgement may be logged: it is without the text."""
    assert "secret" not in repr(await Gate([Words("badger")], action="flag").judge("a secret badger"))


async def test_redaction_takes_out_the_sentences_to_blame():
    """Redacted, a text keeps its other sentences and their spacing."""
    gate = Gate([Words("badger")], action="redact")
    judgement = await gate.check_output("One is fine. The badger is not. Three is.\nFour too.")
    assert judgement.verdict == "redact"
    assert judgement.text == "One is fine. [removed] Three is.\nFour too."


async def test_what_is_spread_over_a_text_is_redacted_whole():
    """When no sentence is to blame alone, all of the text is replaced."""

    class Both:
        name = "both"

        async def score(self, text):
            return {"both": float("ham" in text and "eggs" in text)}

    gate = Gate([Both()], action="redact")
    assert (await gate.check_input("I like ham. I like eggs.")).text == "[removed]"
    far_apart = "I like ham. " + "So it goes. " * 100 + "I like eggs."
    assert (await gate.check_input(far_apart)).text == "[removed]"


async def test_flagged_content_passes_and_is_told_of():
    """Flagged, a text passes unchanged and the observer learns what was found, and where."""
    told = Told()
    gate = Gate([Words("badger")], action="flag", observer=told)
    judgement = await gate.check_input("the badger")
    assert (judgement.verdict, judgement.text) == ("flag", "the badger")
    assert [(side, each.categories) for side, each in told.judgements] == [("input", ("badger",))]


async def test_the_highest_score_of_all_scorers_counts():
    """Scorers are asked together, and for each category the highest of their scores counts."""
    gate = Gate([Sure("one", rude=0.9, crude=0.1), Sure("two", rude=0.2, crude=0.3)])
    assert (await gate.judge("hello")).scores == {"rude": 0.9, "crude": 0.3}


async def test_scorers_run_at_the_same_time():
    """No scorer waits for another: two that wait for each other both answer."""
    meet = asyncio.Barrier(2)

    class Meeting(Sure):
        async def score(self, text):
            await meet.wait()
            return self.scores

    gate = Gate([Meeting("one", rude=0.1), Meeting("two", rude=0.2)], timeout=30)
    assert (await gate.judge("hello")).scores == {"rude": 0.2}


async def test_nothing_is_asked_about_an_empty_text():
    """An empty or blank text passes without asking anybody."""
    scorer = Words("badger")
    assert (await Gate([scorer]).check_input(" \n")).verdict == "pass"
    assert not scorer.asked


async def test_failing_closed_refuses():
    """Closed, a text that a scorer could not judge is refused with a fault that is worth a retry."""
    with pytest.raises(Unavailable) as refused:
        await Gate([Words("badger"), Broken()]).check_input("a fine text")
    assert refused.value.code == "content_unjudged"
    assert refused.value.retry_after
    assert "fine" not in refused.value.internal


async def test_what_was_found_goes_before_what_failed():
    """A text that one scorer finds bad is blocked although another failed."""
    with pytest.raises(PermissionDenied):
        await Gate([Words("badger"), Broken()]).check_input("a badger")


async def test_failing_open_goes_by_the_others():
    """Open, the scorers that answered decide, and the judgement names those that did not."""
    gate = Gate([Words("badger"), Broken()], on_error="open")
    assert (await gate.check_input("a fine text")).failed == ("broken",)
    with pytest.raises(PermissionDenied):
        await gate.check_input("a badger")


async def test_a_slow_scorer_is_given_up():
    """A scorer that takes longer than the timeout is cancelled and counts as failed."""
    stuck, told = Stuck(), Told()
    gate = Gate([stuck], on_error="open", timeout=0.01, observer=told)
    assert (await gate.check_input("hello")).failed == ("stuck",)
    assert stuck.cancelled == 1
    assert told.failures == [("stuck", "timeout")]


async def test_a_caller_who_leaves_takes_the_scorers_along():
    """Cancelled, a judgement leaves no scorer running and counts no failure."""
    scorers, told = [Stuck("one"), Stuck("two")], Told()
    task = asyncio.create_task(Gate(scorers, observer=told).judge("hello"))
    for scorer in scorers:
        await scorer.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [scorer.cancelled for scorer in scorers] == [1, 1]
    assert not told.failures


async def test_an_outage_is_logged_once_and_counted_each_time(logged):
    """A scorer that fails is logged as it begins to and as it is back, and counted each time; never with the text."""
    broken, told = Broken(), Told()
    gate = Gate([broken], on_error="open", observer=told)
    for _ in range(3):
        await gate.check_input("private words")
    broken.down = False
    await gate.check_input("private words")
    await gate.check_input("private words")
    assert [(line["event"], line["scorer"]) for line in logged()] == [
        ("content scorer does not answer", "broken"),
        ("content scorer answers again", "broken"),
    ]
    assert told.failures == [("broken", "out_of_order")] * 3
    assert "private" not in str(logged())


async def test_a_score_that_is_no_number_is_a_failure():
    """NaN is below every threshold, so a scorer that says it has failed; what is out of range is brought back."""
    with pytest.raises(Unavailable):
        await Gate([Sure(rude=float("nan"))]).check_input("hello")
    assert (await Gate([Sure(rude=-3, crude=0.1)]).judge("hello")).scores == {"rude": 0.0, "crude": 0.1}


async def test_texts_of_a_document_are_blamed_by_pointer():
    """Of several texts only those to blame are in the violations, and they are found by halves."""
    texts = {f"/messages/{number}": f"text {number}" for number in range(64)} | {"/last": "a badger"}
    scorer = Words("badger")
    with pytest.raises(PermissionDenied) as refused:
        await Gate([scorer]).check_all(texts, "input")
    assert [violation.pointer for violation in refused.value.violations] == ["/last"]
    assert len(scorer.asked) < 20


async def test_a_word_spread_over_a_document_has_no_pointer():
    """When no text is to blame alone, the violation is of the whole document."""
    with pytest.raises(PermissionDenied) as refused:
        await Gate([Words("bad\nger")]).check_all({"/a": "bad", "/b": "ger"}, "input")
    assert [violation.pointer for violation in refused.value.violations] == [""]


async def test_texts_of_a_document_are_redacted_one_by_one():
    """Of several texts only those to blame are replaced."""
    gate = Gate([Words("badger")], action="redact")
    assert await gate.check_all({"/a": "fine", "/b": "badger"}, "output") == {"/b": "[removed]"}
    assert await gate.check_all({"/a": "fine"}, "output") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"scorers": []},
        {"scorers": [Sure(), Sure()]},
        {"threshold": 0},
        {"thresholds": {"rude": 1.1}},
        {"action": "shout"},
        {"on_error": "panic"},
        {"timeout": 0},
        {"hold_back": 39},
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(wrong):
    """A gate that could not do what it says is refused as it is made."""
    with pytest.raises(InvalidArgument) as refused:
        Gate(**{"scorers": [Sure()], **wrong})
    assert refused.value.code == "invalid_content_gate"


async def test_closing_a_gate_closes_its_scorers():
    """Scorers that hold connections are closed with their gate; others are left alone."""

    class Closing(Sure):
        closed = False

        async def aclose(self):
            self.closed = True

    scorer = Closing()
    await Gate([scorer, Words("x")]).aclose()
    assert scorer.closed


async def test_scorers_are_given_text():
    """JSON may hold half a character, which no encoding can: scorers see something in its place, and halves joined."""
    scorer = Words("badger")
    await Gate([scorer]).judge("x\ud800y \ud83d\ude00 z")
    assert scorer.asked == ["x\ufffdy \U0001f600 z"]


async def test_what_is_left_after_redaction_is_judged():
    """Texts that hold something only together are replaced also when another one was to blame alone."""

    class Pair:
        name = "pair"

        async def score(self, text):
            return {"badger": float("badger" in text), "pair": float("salt" in text and "pepper" in text)}

    gate = Gate([Pair()], action="redact")
    texts = {"/a": "salt", "/b": "a badger", "/c": "pepper"}
    assert await gate.check_all(texts, "input") == dict.fromkeys(texts, "[removed]")
    assert await gate.check_all({"/a": "salt", "/b": "a badger"}, "input") == {"/b": "[removed]"}
