"""Rules, the ways they are held over, and how they went."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from headgate.service.client.client import WireName

if TYPE_CHECKING:
    from headgate.testing.service_conformance.site import Site

CodecName = Literal["json", "msgpack"]
PATIENCE: Final = 20.0
"""Seconds that one rule may take, unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Way:
    """A wire and how messages are written on it."""

    wire: WireName
    codec: CodecName

    def __str__(self) -> str:
        return self.wire if self.wire == "grpc" else f"{self.wire}-{self.codec}"


CODECS: Final[tuple[CodecName, ...]] = ("json", "msgpack")
BOTH: Final[tuple[WireName, ...]] = ("http", "socket", "nats", "local")
WAYS: Final = (*(Way(wire, codec) for wire in BOTH for codec in CODECS), Way("grpc", "msgpack"))
"""All there are; gRPC's codec is its own."""

Group = Literal["any", "reference", "hops", "events", "leaving"]
Run = Callable[["Site"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `run` raises AssertionError, saying what it saw.

    `group` is what it needs: nothing (`any`), the reference service, a relay that finds it over the same wire, a
    broker, or a site that may be stopped. `without` are wires that cannot do it, whoever asks.
    """

    name: str
    group: Group
    text: str
    run: Run
    without: frozenset[str] = frozenset()
    patience: float = PATIENCE


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rule went over a way; `why` is empty when it holds."""

    rule: Rule
    way: Way
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether it holds."""
        return not self.why


RULES: Final[dict[str, Rule]] = {}


def rule(group: Group, *, without: Iterable[str] = (), patience: float = PATIENCE) -> Callable[[Run], Run]:
    """Enter a function into the table; its docstring is the rule."""

    def enter(run: Run) -> Run:
        name = getattr(run, "__name__", "rule")
        RULES[name] = Rule(name, group, (run.__doc__ or "").strip(), run, frozenset(without), patience)
        return run

    return enter


def rules_for(way: Way, groups: Iterable[str]) -> list[Rule]:
    """The rules of these groups that hold over a way."""
    wanted = frozenset(groups)
    return [each for each in RULES.values() if each.group in wanted and way.wire not in each.without]


async def run_rule(each: Rule, site: "Site") -> Outcome:
    """Try one rule; whatever it raises is the reason why it does not hold."""
    try:
        async with asyncio.timeout(each.patience):
            await each.run(site)
    except TimeoutError:
        return Outcome(each, site.way, f"not done within {each.patience:g} s")
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the report is for
        return Outcome(each, site.way, f"{type(error).__name__}: {error}".strip())
    return Outcome(each, site.way)


async def run_rules(
    site: "Site", groups: Iterable[str] = ("any",), *, told: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Try the rules of these groups, one after the other; `told` hears of each as it ends."""
    outcomes = []
    for each in rules_for(site.way, groups):
        outcomes.append(outcome := await run_rule(each, site))
        if told is not None:
            told(outcome)
    return outcomes


def expect(condition: object, said: str) -> None:
    """Fail with what was seen instead."""
    if not condition:
        raise AssertionError(said)


def same(seen: object, wanted: object, what: str = "it") -> None:
    """Fail unless both are the same."""
    expect(seen == wanted, f"{what} is {str(seen)[:300]}, not {str(wanted)[:300]}")
