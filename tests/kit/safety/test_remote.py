"""Scorers behind HTTP, against servers that keep to the contract of the service."""

import asyncio
import json
import sys
import warnings

import httpx
import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from headgate.kit.safety import Gate
from headgate.kit.safety.checks import POLICIES, ChecksScorer
from headgate.kit.safety.moderation import ModerationScorer
from headgate.kit.safety.perspective import PerspectiveScorer
from tests.kit.safety import fakes
from tests.kit.safety.conftest import Told

MINE = "my private words about a badger"


@pytest.fixture
def checks():
    """A running Google Checks."""
    with fakes.serving(fakes.Checks()) as service:
        yield service


@pytest.fixture
def perspective():
    """A running Perspective."""
    with fakes.serving(fakes.Perspective()) as service:
        yield service


@pytest.fixture
def moderation():
    """A running moderation endpoint."""
    with fakes.serving(fakes.Moderation()) as service:
        yield service


def checks_scorer(service, **options):
    """A scorer that asks the service."""
    return ChecksScorer(
        service.project, **{"token": lambda: service.token, "base_url": service.url, "timeout": 10, **options}
    )


def perspective_scorer(service, **options):
    """A scorer that asks the service."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return PerspectiveScorer(**{"key": service.key, "base_url": service.url, "timeout": 10, **options})


def moderation_scorer(service, **options):
    """A scorer that asks the service."""
    return ModerationScorer(f"{service.url}/v1", **{"key": service.key, "timeout": 10, **options})


ALL = [("checks", checks_scorer), ("perspective", perspective_scorer), ("moderation", moderation_scorer)]


@pytest.fixture(params=ALL, ids=[name for name, _ in ALL])
def each(request):
    """Each service, and how its scorer is made."""
    name, make = request.param
    return request.getfixturevalue(name), make


def test_checks_is_asked_as_documented(checks):
    """Google Checks gets the text, the policies and their thresholds, a token and the project that pays."""
    scorer = checks_scorer(checks, policies={"HARASSMENT": 0.75, "HATE_SPEECH": None})
    assert fakes.ask(scorer, MINE) == {"harassment": 0.0, "hate_speech": 1.0}
    assert checks.seen == [
        {
            "input": {"text_input": {"content": MINE}},
            "policies": [{"policy_type": "HARASSMENT", "threshold": 0.75}, {"policy_type": "HATE_SPEECH"}],
        }
    ]
    assert checks.headers[0]["x-goog-user-project"] == "my-project"


def test_checks_is_asked_for_all_policies():
    """Unless told otherwise, all eight policies are judged."""
    assert set(POLICIES) == fakes.POLICIES
    with fakes.serving(fakes.Checks()) as service:
        assert fakes.ask(checks_scorer(service), "fine") == {policy.lower(): 0.0 for policy in POLICIES}


def test_scores_of_checks_may_count(checks):
    """With verdicts off, the service's scores count, and its verdict where it gives none."""
    scorer = checks_scorer(checks, policies=["HARASSMENT"], verdicts=False)
    assert fakes.ask(scorer, MINE) == {"harassment": 0.7}
    checks.failure = json.dumps(
        {"policyResults": [{"policyType": "HARASSMENT", "violationResult": "VIOLATIVE"}]}
    ).encode()
    assert fakes.ask(checks_scorer(checks, policies=["HARASSMENT"], verdicts=False), MINE) == {"harassment": 1.0}


@pytest.mark.parametrize("verdict", ["CLASSIFICATION_ERROR", "VIOLATION_RESULT_UNSPECIFIED", "SOMETHING_NEW"])
def test_checks_without_a_verdict_has_failed(checks, verdict):
    """A policy on which the service could not decide is a failure, not a pass."""
    checks.verdicts = {"HARASSMENT": verdict}
    with pytest.raises(Unavailable, match="no verdict on HARASSMENT"):
        fakes.ask(checks_scorer(checks), MINE)


def test_checks_with_a_policy_missing_has_failed(checks):
    """A policy that the answer leaves out is a failure, not a pass."""
    checks.failure = b'{"policyResults": [{"policyType": "HARASSMENT", "violationResult": "NON_VIOLATIVE"}, 3]}'
    with pytest.raises(Unavailable, match="no result for HATE_SPEECH"):
        fakes.ask(checks_scorer(checks, policies=["HARASSMENT", "HATE_SPEECH"]), MINE)


def test_a_token_is_asked_for_each_time(checks):
    """Tokens expire: the provider, which may be a coroutine function, is asked for each request."""
    asked = []

    async def token():
        asked.append(1)
        return checks.token

    async def twice():
        scorer = checks_scorer(checks, token=token)
        await scorer.score("one")
        await scorer.score("two")
        await scorer.aclose()

    asyncio.run(twice())
    assert len(asked) == 2


@pytest.mark.parametrize(
    "wrong", [{"project": ""}, {"policies": []}, {"policies": ["RUDENESS"]}, {"policies": {"HARASSMENT": 2}}]
)
def test_checks_that_makes_no_sense_is_refused(wrong):
    """A project, known policies and possible thresholds are needed."""
    with pytest.raises(InvalidArgument):
        ChecksScorer(**{"project": "p", "token": str, **wrong})


def test_perspective_is_asked_as_documented(perspective):
    """Perspective gets the text and the attributes, is told to store nothing, and sees the key in a header."""
    scorer = perspective_scorer(perspective, attributes=["TOXICITY", "THREAT"], languages=["en"])
    assert fakes.ask(scorer, MINE) == {"toxicity": 0.9, "threat": 0.9}
    assert perspective.seen == [
        {
            "comment": {"text": MINE, "type": "PLAIN_TEXT"},
            "requestedAttributes": {"TOXICITY": {}, "THREAT": {}},
            "doNotStore": True,
            "languages": ["en"],
        }
    ]


def test_perspective_says_that_it_ends():
    """Whoever makes a Perspective scorer is told when the service ends."""
    with pytest.warns(FutureWarning, match="2026-12-31"):
        PerspectiveScorer(key="k")
    with pytest.raises(InvalidArgument):
        PerspectiveScorer(key="")


def test_long_texts_fit_the_service(perspective):
    """A text longer than the service takes is sent in parts, of which the highest scores count."""
    text = "Grüße \U0001d552\U0001d553 ist schön. " * 1500 + "badger. " + "So it goes. " * 2000
    assert fakes.ask(perspective_scorer(perspective, attributes=["THREAT"]), text) == {"threat": 0.9}
    assert len(perspective.seen) > 5
    assert sorted("".join(each["comment"]["text"] for each in perspective.seen)) == sorted(text)


def test_a_part_that_fails_is_the_failure_of_the_text(moderation):
    """A long text of which a part could not be judged is not judged, and the fault is that of the part."""
    moderation.failure = 503
    with pytest.raises(Unavailable, match="status 503"):
        fakes.ask(moderation_scorer(moderation, longest=100), "So it goes. " * 100)


def test_moderation_is_asked_as_documented(moderation):
    """A moderation endpoint gets the text and the model; its categories get plain names."""
    scorer = moderation_scorer(moderation, model="omni-moderation-latest")
    assert fakes.ask(scorer, MINE) == {
        "harassment": 0.93,
        "harassment_threatening": 0.93,
        "self_harm": 0.93,
        "sexual": 0.93,
    }
    assert moderation.seen == [{"model": "omni-moderation-latest", "input": MINE}]


def test_moderation_without_scores_is_sure(moderation):
    """Categories without scores count as certain; a bare verdict is a category of its own."""
    moderation.scores = False
    assert fakes.ask(moderation_scorer(moderation), MINE)["self_harm"] == 1.0
    moderation.failure = b'{"results": [{"flagged": true}]}'
    assert fakes.ask(moderation_scorer(moderation), MINE) == {"flagged": 1.0}


@pytest.mark.parametrize(
    "failure", [b"", b"[]", b"{", b"{}", b'{"results": []}', b'{"results": [{}]}', b"x" * 2_000_000]
)
def test_an_answer_that_tells_nothing_is_a_failure(each, failure):
    """An answer that is no JSON object, says nothing or is too long is a failure, not a pass."""
    service, make = each
    service.failure = failure
    with pytest.raises(Unavailable) as failed:
        fakes.ask(make(service), MINE)
    assert failed.value.code == "scorer_failed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_a_refusal_is_a_failure_without_the_text(each, status):
    """A status that is not 200 is a failure that names it, without the text, the key or the service's own words."""
    service, make = each
    service.failure = status
    with pytest.raises(Unavailable) as failed:
        fakes.ask(make(service), MINE)
    told = f"{failed.value.message} {failed.value.internal} {failed.value!r} {failed.value.__cause__!r}"
    assert f"status {status}" in told
    assert "private" not in told
    for secret in (fakes.Checks.token, fakes.Perspective.key, fakes.Moderation.key):
        assert secret not in told


def test_a_wrong_key_is_told(each):
    """A key that the service refuses is a failure; the key is not in it."""
    service, make = each
    wrong = {"token": lambda: "stolen"} if make is checks_scorer else {"key": "stolen"}
    with pytest.raises(Unavailable) as failed:
        fakes.ask(make(service, **wrong), MINE)
    assert "stolen" not in f"{failed.value} {failed.value.internal}"


def test_a_service_that_hangs_is_given_up(each):
    """A service that does not answer in time is a failure, and the caller goes on."""
    service, make = each
    service.failure = "hang"
    told = Told()
    gate = Gate([make(service, timeout=0.05)], on_error="open", timeout=30, observer=told)

    async def judge():
        judgement = await gate.judge(MINE)
        await gate.aclose()
        return judgement

    assert asyncio.run(judge()).failed
    assert [reason for _, reason in told.failures] == ["timeout"]


def test_a_service_that_is_not_there(each):
    """A service that cannot be reached is a failure that names the kind of error."""
    service, make = each
    service.url = "http://127.0.0.1:1"
    with pytest.raises(Unavailable, match="ConnectError"):
        fakes.ask(make(service), MINE)


def test_a_gate_goes_by_what_services_say(each):
    """A gate with such a scorer blocks what the service finds, and passes what it does not."""
    service, make = each

    async def both():
        gate = Gate([make(service)])
        with pytest.raises(PermissionDenied):
            await gate.check_input(MINE)
        passed = await gate.check_input("fine words")
        await gate.aclose()
        return passed

    assert asyncio.run(both()).verdict == "pass"


def test_a_client_of_ones_own_is_left_open(moderation):
    """A scorer closes the client it made, and no other."""

    async def use():
        async with httpx.AsyncClient() as client:
            scorer = moderation_scorer(moderation, client=client)
            await scorer.score("fine")
            await scorer.aclose()
            return client.is_closed

    assert asyncio.run(use()) is False


def test_no_client_library_is_told(monkeypatch, moderation):
    """Without httpx the fault names the extra to install."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(FailedPrecondition) as missing:
        fakes.ask(moderation_scorer(moderation), MINE)
    assert (missing.value.code, missing.value.hint) == ("extra_missing", "pip install 'headgate[http]'")


def test_a_moderation_endpoint_has_an_address():
    """An address that is none is refused at once."""
    with pytest.raises(InvalidArgument):
        ModerationScorer("api.example.com")
