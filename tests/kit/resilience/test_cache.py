"""The flow cache on the memory of one process."""

import asyncio

import pytest
from pydantic import BaseModel

from headgate.kit.controls.faults import Internal, InvalidArgument, NotFound, Unavailable
from headgate.kit.resilience.cache import CachePolicy, FlowCache
from headgate.kit.resilience.codec import codec_of
from headgate.kit.resilience.keys import cache_key
from tests.kit.resilience.conftest import until

KEY = cache_key("flow", {"q": 1}, tenant="t")


class Upstream:
    """Counts its calls; answers with their number, or fails."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> dict:
        self.calls += 1
        number = self.calls
        await self.go.wait()
        if self.error:
            raise self.error
        return {"number": number, "list": []}


@pytest.fixture
def upstream() -> Upstream:
    """An upstream that answers at once."""
    return Upstream()


def cache(clock, **fields) -> FlowCache:
    """A cache on the test's clock."""
    observer = fields.pop("observer", None)
    return FlowCache(CachePolicy(**fields), clock=clock, observer=observer)


async def test_answers_are_kept_for_their_time(clock, upstream):
    """A second call within the time is answered without calling, one after it calls again."""
    one = cache(clock, seconds=10)
    assert (await one.get_or_call(KEY, upstream))["number"] == 1
    clock.pass_(9.9)
    assert (await one.get_or_call(KEY, upstream))["number"] == 1
    clock.pass_(0.1)
    assert (await one.get_or_call(KEY, upstream))["number"] == 2
    assert (await one.get_or_call("flow:other", upstream, seconds=1))["number"] == 3
    clock.pass_(1)
    assert (await one.get_or_call("flow:other", upstream, seconds=1))["number"] == 4


async def test_callers_at_once_share_one_call(clock, upstream):
    """50 callers at once who miss make one call."""
    one = cache(clock)
    answers = await asyncio.gather(*(one.get_or_call(KEY, upstream) for _ in range(50)))
    assert [each["number"] for each in answers] == [1] * 50
    assert one.stats().events == {"miss": 1, "joined": 49, "call": 1}


async def test_d12_nobody_shares_a_value(clock, upstream):
    """Whoever changes an answer, first caller, joined or later, changes only their own."""
    one = cache(clock)
    answers = list(await asyncio.gather(*(one.get_or_call(KEY, upstream) for _ in range(3))))
    answers.append(await one.get_or_call(KEY, upstream))
    for answer in answers:
        assert answer == {"number": 1, "list": []}
        answer["list"].append("changed")
    assert await one.get_or_call(KEY, upstream) == {"number": 1, "list": []}


async def test_d10_a_failing_upstream_is_called_once(clock, upstream):
    """20 callers at once of an upstream that fails make one call, and its error is not kept."""
    one, upstream.error = cache(clock), RuntimeError("down")
    errors = await asyncio.gather(*(one.get_or_call(KEY, upstream) for _ in range(20)), return_exceptions=True)
    assert [str(error) for error in errors] == ["down"] * 20
    assert upstream.calls == 1
    upstream.error = None
    assert (await one.get_or_call(KEY, upstream))["number"] == 2


async def test_d09_memory_is_flat_whatever_the_number_of_keys(clock, upstream):
    """Thousands of keys leave no more than the allowed entries, and nothing else behind."""
    one = cache(clock, entries=10)
    for number in range(3000):
        await one.get_or_call(f"flow:{number}", upstream)
    stats = one.stats()
    assert (stats.entries, stats.flights) == (10, 0)
    assert stats.events["evicted"] == 2990


async def test_a_cancelled_leader_does_not_harm_the_others(clock, upstream):
    """When the first caller is cancelled those who joined get the answer of the same call."""
    one = cache(clock)
    upstream.go.clear()
    leader, *others = [asyncio.create_task(one.get_or_call(KEY, upstream)) for _ in range(5)]
    await until(lambda: upstream.calls)
    leader.cancel()
    upstream.go.set()
    assert [each["number"] for each in await asyncio.gather(*others)] == [1] * 4
    assert upstream.calls == 1


async def test_errors_can_be_remembered(clock, upstream):
    """With `error_seconds` an error is given again for that long, without its text when it is no fault."""
    one, upstream.error = cache(clock, error_seconds=2), NotFound("no such flow", code="no_flow")
    for _ in range(3):
        with pytest.raises(NotFound, match="no such flow"):
            await one.get_or_call(KEY, upstream)
    assert upstream.calls == 1
    clock.pass_(2)
    upstream.error = RuntimeError("secret")
    with pytest.raises(RuntimeError, match="secret"):
        await one.get_or_call(KEY, upstream)
    with pytest.raises(Internal, match="something went wrong"):
        await one.get_or_call(KEY, upstream)


async def test_stale_answers_are_given_while_renewed(clock, upstream):
    """After its time an answer is given at once for a while, and one call in the background renews it."""
    one = cache(clock, seconds=10, stale_seconds=5)
    await one.get_or_call(KEY, upstream)
    clock.pass_(11)
    upstream.go.clear()
    assert [(await one.get_or_call(KEY, upstream))["number"] for _ in range(3)] == [1, 1, 1]
    await until(lambda: upstream.calls == 2)
    upstream.go.set()
    await until(lambda: one.stats().flights == 0)
    assert (await one.get_or_call(KEY, upstream))["number"] == 2
    assert upstream.calls == 2
    clock.pass_(15)
    assert (await one.get_or_call(KEY, upstream))["number"] == 3


async def test_a_failed_renewal_keeps_the_stale_answer(clock, upstream):
    """While renewing fails the stale answer is given until its end, and upstream is not asked by every caller."""
    one = cache(clock, seconds=10, stale_seconds=60)
    await one.get_or_call(KEY, upstream)
    clock.pass_(11)
    upstream.error = Unavailable("down")
    for _ in range(5):
        assert (await one.get_or_call(KEY, upstream))["number"] == 1
        await until(lambda: one.stats().flights == 0)
    assert upstream.calls == 2
    clock.pass_(1)
    await one.get_or_call(KEY, upstream)
    await until(lambda: one.stats().flights == 0)
    assert upstream.calls == 3
    assert one.stats().events["refresh_failed"] == 2
    clock.pass_(60)
    with pytest.raises(Unavailable):
        await one.get_or_call(KEY, upstream)


async def test_invalidated_answers_are_gone(clock, upstream):
    """An invalidated answer is asked for anew, also when it was still being made."""
    one = cache(clock)
    await one.get_or_call(KEY, upstream)
    assert await one.invalidate(KEY)
    upstream.go.clear()
    under_way = asyncio.create_task(one.get_or_call(KEY, upstream))
    await until(lambda: upstream.calls == 2)
    await one.invalidate(KEY)
    upstream.go.set()
    assert (await under_way)["number"] == 2
    assert (await one.get_or_call(KEY, upstream))["number"] == 3


async def test_clearing_a_namespace(clock, upstream):
    """Clearing takes one namespace, or everything."""
    one = cache(clock)
    for key in ("a:1", "b:1"):
        await one.get_or_call(key, upstream)
    await one.clear("a")
    await one.get_or_call("b:1", upstream)
    assert upstream.calls == 2
    await one.clear()
    await one.get_or_call("b:1", upstream)
    assert upstream.calls == 3
    with pytest.raises(InvalidArgument):
        await one.clear("*")


async def test_large_answers_are_handed_on_and_not_kept(clock, upstream):
    """An answer over the size of one entry reaches its callers and is not kept."""
    one = cache(clock, largest=5)
    for _ in range(2):
        await one.get_or_call(KEY, upstream)
    assert upstream.calls == 2
    assert one.stats().events["too_large"] == 2
    assert one.stats().entries == 0


async def test_what_cannot_be_kept_is_an_error_for_all(clock):
    """An answer without a form, or not of its type, is a defect for everybody who asked, and not kept."""
    one = cache(clock)

    async def wrong():
        return object()

    for codec in (codec_of(None), codec_of(int)):
        with pytest.raises(Internal):
            await one.get_or_call(KEY, wrong, codec=codec)
    assert one.stats().entries == 0


async def test_closing_ends_calls_under_way(clock, upstream):
    """Closing cancels calls under way; nothing runs on."""
    one = cache(clock)
    upstream.go.clear()
    task = asyncio.create_task(one.get_or_call(KEY, upstream))
    await until(lambda: upstream.calls)
    await one.aclose()
    assert one.stats().flights == 0
    await asyncio.wait([task])


async def test_the_observer_hears_the_namespace(clock, upstream):
    """What happens is told with its namespace, never with a key."""
    told = []
    one = cache(clock, observer=lambda namespace, event: told.append((namespace, event)), entries=1)
    for key in ("a:1", "a:1", "b:1"):
        await one.get_or_call(key, upstream)
    assert told == [
        ("a", "miss"),
        ("a", "call"),
        ("a", "hit"),
        ("b", "miss"),
        ("b", "call"),
        ("", "evicted"),
    ]


@pytest.mark.parametrize("fields", [{"seconds": 0}, {"entries": 0}, {"stale_seconds": -1}, {"largest": 0}])
def test_impossible_policies_are_refused(fields):
    """A policy that cannot work is refused with a pointer to the field."""
    with pytest.raises(InvalidArgument) as refused:
        CachePolicy(**fields)
    assert [each.pointer for each in refused.value.violations] == [f"/{name}" for name in fields]


class Translation(BaseModel):
    text: str
    calls: int


class TestDecorated:
    """Functions with a cache in front of them."""

    async def test_arguments_and_tenants_tell_calls_apart(self, clock):
        """The same arguments, however given, are one call; other arguments and other tenants are others."""
        tenant, calls = ["a"], []

        @cache(clock).cached("translate", tenant=lambda: tenant[0], version="1")
        async def translate(text: str, language: str = "French", *, loud: bool = False) -> Translation:
            """Translate."""
            calls.append((tenant[0], text, language, loud))
            return Translation(text=text, calls=len(calls))

        same = [
            await translate("hello"),
            await translate("hello", "French"),
            await translate(text="hello", language="French", loud=False),
        ]
        assert [each.calls for each in same] == [1, 1, 1]
        assert isinstance(same[1], Translation)
        assert (await translate("hello", loud=True)).calls == 2
        tenant[0] = "b"
        assert (await translate("hello")).calls == 3
        await translate.invalidate("hello")
        assert (await translate("hello")).calls == 4
        assert (translate.__name__, translate.__doc__) == ("translate", "Translate.")
        assert translate.key("hello").startswith("translate:")

    @pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"c": 1})])
    async def test_wrong_arguments_are_type_errors(self, clock, args, kwargs):
        """Arguments the function does not take are refused as Python refuses them."""

        @cache(clock).cached("f", tenant=None)
        async def function(a: int, b: int = 0) -> int:
            return a + b

        with pytest.raises(TypeError):
            await function(*args, **kwargs)

    async def test_other_signatures(self, clock):
        """Functions with *args and **kwargs have keys too."""

        @cache(clock).cached("f", tenant=None)
        async def function(*args: int, **kwargs: int):
            return [list(args), kwargs]

        assert await function(1, 2, a=3) == [[1, 2], {"a": 3}]
        assert function.key(1) != function.key(2)
        assert function.key(a=1) != function.key(1)

    async def test_parameters_can_be_left_out_of_the_key(self, clock):
        """What is ignored may have no form in JSON and does not tell calls apart."""
        one = cache(clock)

        @one.cached("f", tenant=None, ignore=("client",))
        async def function(client: object, question: str) -> str:
            return question

        assert await function(object(), "a") == await function(object(), "a")
        assert one.stats().events["call"] == 1
        with pytest.raises(InvalidArgument, match="no parameter"):
            one.cached("f", tenant=None, ignore=("cleint",))(function._function)
