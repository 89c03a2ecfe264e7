"""What a change of a contract means to those who know the old one."""

import enum
from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Struct, defstruct

from headgate.kit.controls.faults import FailedPrecondition, NotFound
from headgate.service import AUTHENTICATED, PUBLIC, Service, Topic, on, require, rpc
from headgate.service.compare import Change, check, compare, worst
from headgate.service.lock import update_lock
from tests.service.proto.shop import Shop


def document(takes=int, gives=None, event=None, **options):
    """The document of a service with one method of these types and options, and perhaps one subscription."""
    listening = options.pop("listening", {})
    declared = {"public": True, **options.pop("declared", {})}

    class Made(Service, name="made", version=options.pop("version", "1.0.0"), **declared):
        @rpc(**options)
        async def put(self, given: takes) -> gives:
            raise NotImplementedError

        if event is not None:

            @on(Topic(listening.pop("subject", "made.it"), event), **listening)
            async def heard(self, event: event) -> None:
                """Hear."""

    return Made.contract().document


def told(old, new):
    """The changes as `LEVEL POINTER: MESSAGE`."""
    return [f"{each.level} {each.pointer}: {each.message}" for each in compare(old, new)]


def record(*fields, name="Thing", **options):
    """A Struct of these fields."""
    return defstruct(name, list(fields), **options)


SENT, ANSWERED = " (in what callers send)", " (in what the service sends)"


def test_what_is_the_same_has_no_changes():
    """A contract compared with itself differs in nothing."""
    assert compare(Shop.contract().document, Shop.contract().document) == []
    assert worst([]) is None


class Few(enum.Enum):
    A = "a"


class More(enum.Enum):
    A = "a"
    B = "b"


TYPES = [
    (int, float, "may be of type number now", ""),
    (int, int | None, "may be null now", ""),
    (int, str, "is of type string now, was of type integer", "both"),
    (Literal["a"], Literal["a", "b"], 'may be "b" now', "values"),
    (Few, str, "may be any value now", ""),
    (Annotated[int, Meta(ge=5)], Annotated[int, Meta(ge=1)], "minimum is 1 now, was 5", "values"),
    (Annotated[str, Meta(max_length=5)], str, "maxLength is nothing now, was 5", "values"),
    (list[int], list[int | None], "may be null now", ""),
    (dict[str, int], dict[str, int | None], "may be null now", ""),
]


@pytest.mark.parametrize(("narrow", "wide", "message", "how"), TYPES)
def test_types_may_widen_for_callers_and_narrow_for_readers(narrow, wide, message, how):
    """What callers may send may only grow, what they are answered may only shrink."""
    sent = compare(document(record(("x", narrow))), document(record(("x", wide))))
    answered = compare(document(gives=record(("x", narrow))), document(gives=record(("x", wide))))
    backwards = compare(document(record(("x", wide))), document(record(("x", narrow))))
    levels = {"both": ("breaking", "breaking"), "values": ("safe", "dangerous")}.get(how, ("safe", "breaking"))
    assert any(each.message.startswith(message) for each in sent)
    assert (worst(sent) or "safe", worst(answered)) == levels
    assert worst(backwards) == "breaking"
    assert all(each.pointer.startswith("/schemas/Thing/properties/x") for each in [*sent, *answered])


FIELDS = [
    (record(("a", int)), record(("a", int), ("b", int)), "breaking", "safe"),
    (record(("a", int)), record(("a", int), ("b", int, 0)), "safe", "safe"),
    (record(("a", int), ("b", int)), record(("a", int)), "dangerous", "breaking"),
    (record(("a", int), ("b", int, 0)), record(("a", int)), "dangerous", "dangerous"),
    (record(("a", int, 0)), record(("a", int)), "breaking", "safe"),
    (record(("a", int)), record(("a", int, 0)), "safe", "breaking"),
    (record(("a", int, 1)), record(("a", int, 2)), "dangerous", None),
    (record(("a", int)), record(("a", int), forbid_unknown_fields=True), "dangerous", None),
    (record(("a", int), forbid_unknown_fields=True), record(("a", int), ("b", int, 0)), "safe", "breaking"),
    (
        record(("a", int), ("b", int), forbid_unknown_fields=True),
        record(("a", int), forbid_unknown_fields=True),
        "breaking",
        "breaking",
    ),
]


@pytest.mark.parametrize(("old", "new", "sent", "answered"), FIELDS)
def test_fields_come_and_go_by_direction(old, new, sent, answered):
    """A field that is required breaks callers; one that is gone breaks readers."""
    assert worst(compare(document(old), document(new))) == sent
    assert worst(compare(document(gives=old), document(gives=new))) == answered


class Card(Struct, tag="card"):
    number: str


class Cash(Struct, tag="cash"):
    amount: int


class Cheque(Struct, tag="cheque"):
    bank: str


def test_members_of_a_union_are_told_apart_by_their_tags():
    """A new member widens a union and a removed one narrows it, whatever the order."""
    two, three = Card | Cash, Cash | Cheque | Card
    assert told(document(two), document(three)) == [
        f'safe /schemas/PutRequest/properties/given: may be of type object with type "cheque" now{SENT}'
    ]
    assert worst(compare(document(three), document(two))) == "breaking"
    assert worst(compare(document(gives=two), document(gives=three))) == "breaking"


class Tree(Struct):
    value: int
    below: "list[Tree]" = []


def test_what_refers_to_itself_is_compared_once():
    """A recursive type is compared to its end, and each of its changes told once."""
    old, new = document(Tree, Tree), document(Tree, Tree)
    new["schemas"]["Tree"]["properties"]["value"]["minimum"] = 3
    try:
        changes = told(old, new)
    finally:
        del new["schemas"]["Tree"]["properties"]["value"]["minimum"]
    assert changes == [
        f"breaking /schemas/Tree/properties/value: minimum is 3 now, was nothing{SENT}",
        f"safe /schemas/Tree/properties/value: minimum is 3 now, was nothing{ANSWERED}",
    ]


class Gone(NotFound):
    default_code = "gone"


class AlsoGone(FailedPrecondition):
    default_code = "gone"


class Detailed(NotFound):
    default_code = "gone"

    class Details(Struct):
        """What it was."""

        name: str


METHODS = [
    ({}, {"raises": [Gone]}, "dangerous /methods/Put/faults/gone: callers may get this NOT_FOUND now"),
    ({"raises": [Gone]}, {}, "safe /methods/Put/faults/gone: is no longer declared"),
    (
        {"raises": [Gone]},
        {"raises": [AlsoGone]},
        "breaking /methods/Put/faults/gone: is FAILED_PRECONDITION now, was NOT_FOUND",
    ),
    ({"raises": [Detailed]}, {"raises": [Gone]}, "breaking /methods/Put/faults/gone/details: has no details any more"),
    ({"timeout": 5}, {"timeout": 2}, "dangerous /methods/Put/timeout: is 2 s now, was 5 s"),
    ({}, {"timeout": 2}, "dangerous /methods/Put/timeout: is 2 s now, was without limit"),
    ({"timeout": 2}, {}, "safe /methods/Put/timeout: is without limit now, was 2 s"),
    ({"cache": 5}, {}, "safe /methods/Put/cache: answers are never old now"),
    ({}, {"cache": 5}, "dangerous /methods/Put/cache: answers may be 5 s old now"),
    (
        {"idempotent": True},
        {},
        "breaking /methods/Put/idempotent: may not be called twice any more, as callers do that retry",
    ),
    (
        {"idempotent": True},
        {"idempotent": "key"},
        "dangerous /methods/Put/idempotent: is done once only for callers that send a key now",
    ),
    ({}, {"idempotent": "key"}, "safe /methods/Put/idempotent: may be called twice now"),
    ({"post": "/a"}, {}, "breaking /methods/Put/http: is no longer at POST /a"),
    ({}, {"post": "/a"}, "safe /methods/Put/http: is at POST /a as well now"),
    ({"post": "/a"}, {"put": "/a"}, "breaking /methods/Put/http: is at PUT /a now, was at POST /a"),
    ({"post": "/a"}, {"post": "/b"}, "breaking /methods/Put/http: is at POST /b now, was at POST /a"),
    (
        {"post": "/a"},
        {"post": "/a", "status": 201},
        "dangerous /methods/Put/http/status: success is 201 now, was 200",
    ),
    ({}, {"deprecated": True}, "safe /methods/Put/deprecated: is deprecated now"),
    ({}, {"gives": int}, "safe /methods/Put/response: answers with something now"),
    ({"gives": int}, {}, "breaking /methods/Put/response: answers with nothing now"),
    ({"version": "1.1.0"}, {}, "dangerous /version: goes back from 1.1.0 to 1.0.0"),
]


@pytest.mark.parametrize(("old", "new", "expected"), METHODS)
def test_each_promise_of_a_method_is_watched(old, new, expected):
    """Faults, times, idempotency, bindings and responses are compared, each with its own level."""
    assert told(document(**old), document(**new)) == [expected]


GUARDS = [
    (PUBLIC, AUTHENTICATED, "breaking", ""),
    (AUTHENTICATED, PUBLIC, "dangerous", ""),
    (AUTHENTICATED, require(roles={"clerk"}), "breaking", "/roles"),
    (require(roles={"clerk"}), require(roles={"clerk", "boss"}), "dangerous", "/roles"),
    (require(roles={"clerk", "boss"}), require(roles={"boss"}), "breaking", "/roles"),
    (require(roles={"clerk"}), AUTHENTICATED, "dangerous", "/roles"),
    (AUTHENTICATED, require(scopes={"a:b"}), "breaking", "/scopes"),
    (require(permissions={"a:b:c"}), AUTHENTICATED, "dangerous", "/permissions"),
]


@pytest.mark.parametrize(("old", "new", "level", "where"), GUARDS)
def test_guards_that_ask_more_break_and_that_ask_less_endanger(old, new, level, where):
    """A guard that asks for more breaks callers, one that asks for less may let in too many."""
    (change,) = compare(document(guard=old), document(guard=new))
    assert (change.level, change.pointer) == (level, f"/methods/Put/guard{where}")


def test_methods_and_services_come_and_go():
    """A removed method breaks, a new one does not, and another name of the service breaks all."""

    class Other(Service, name="other", version="1.0.0", public=True):
        @rpc
        async def take(self) -> None:
            """Take."""

    assert told(document(), Other.contract().document) == [
        "breaking /methods/Put: the method was removed",
        "breaking /service: is other now, was made: every path has it",
        "breaking /title: is Other now, was Made: every path has it",
        "safe /methods/Take: the method was added",
    ]


def test_subscriptions_keep_what_they_hear():
    """Another subject or less patience is told, and events are compared as what is sent."""
    old = document(event=record(("a", int), name="Paid"), listening={"retries": 5, "dead_letter": True})
    new = document(event=record(("a", int), ("b", int), name="Paid"), listening={"subject": "made.up", "group": "g"})
    assert told(old, new) == [
        f"breaking /schemas/Paid/properties/b: was added, and is required{SENT}",
        "breaking /subscriptions/heard/subject: hears made.up now, not made.it",
        "dangerous /subscriptions/heard/dead_letter: events that fail are lost now",
        "dangerous /subscriptions/heard/group: shares events with the group 'g' now, not ''",
        "dangerous /subscriptions/heard/retries: tries 0 times more now, was 5",
    ]
    assert told(old, document()) == ["breaking /subscriptions/heard: the subscription was removed"]


def things(kind):
    """The contract of a service that takes things with an `x` of this type."""

    class Things(Service, name="things", public=True):
        @rpc
        async def put(self, thing: record(("x", kind), ("y", int))) -> None:
            """Put."""

    return Things.contract()


def test_the_lock_knows_what_grpc_reads():
    """Against its lock a contract is also checked for types that gRPC reads otherwise."""
    lock = update_lock(things(int))
    assert check(things(int), lock) == []
    changes = check(things(float), lock)
    assert Change("breaking", "/messages/Thing/x", "is double on gRPC now, was int64") in changes
    assert worst(changes) == "breaking"


def test_order_and_texts_change_nothing():
    """Fields in another order, and other descriptions, are no change."""
    one = record(("a", Annotated[int, Meta(description="first")]), ("b", int, UNSET))
    other = record(("b", int, UNSET), ("a", int), kw_only=True)
    assert compare(document(one), document(other)) == []
