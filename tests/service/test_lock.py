"""What a service has promised so far."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument, NotFound
from headgate.service import Service, rpc
from headgate.service.lock import locks_in, parse_lock, read_lock, update_lock, write_lock
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.names import Numbers
from tests.service.proto.shop import Shop


def contract_of(*fields, kind=int):
    """A contract whose one message has these fields."""
    from msgspec import defstruct

    made = defstruct("Thing", [(name, kind) for name in fields])

    class Things(Service, name="things", public=True):
        @rpc
        async def put(self, thing: made) -> made:
            return thing

    return Things.contract()


def test_numbers_stay_when_fields_move_come_and_go():
    """A field keeps its number in any order; a new one gets one nobody had; a removed one's is kept back."""
    lock = update_lock(contract_of("a", "b", "c"))
    lock = update_lock(contract_of("c", "d", "a"), lock)
    thing = lock.messages["Thing"]
    assert thing.fields == {"a": "int64 = 1", "c": "int64 = 3", "d": "int64 = 4"}
    assert thing.reserved == {"b": 2}
    lock = update_lock(contract_of("a"), lock)
    assert lock.messages["Thing"].reserved == {"b": 2, "c": 3, "d": 4}
    assert update_lock(contract_of("a", "e"), lock).messages["Thing"].fields["e"] == "int64 = 5"


names = st.sampled_from([f"f{number}" for number in range(8)])
histories = st.lists(st.lists(names, unique=True, min_size=1), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_no_number_ever_means_two_things(history):
    """Through any history of a message, a number belongs to one name, and a name has one number."""
    lock, owners, gone, last = None, {}, set(), set()
    for fields in history:
        gone |= last - set(fields)
        present = [name for name in fields if name not in gone]
        if not present:
            continue
        lock = update_lock(contract_of(*present), lock)
        for name, number in lock.numbers["Thing"].given.items():
            assert owners.setdefault(number, name) == name
        assert set(lock.messages["Thing"].reserved) <= gone
        last = set(present)
    assert len(set(owners.values())) == len(owners)


def test_a_removed_name_is_not_taken_again():
    """A field that has the name of a removed one is refused, and says so."""
    lock = update_lock(contract_of("a"), update_lock(contract_of("a", "b")))
    with pytest.raises(InvalidArgument) as raised:
        update_lock(contract_of("a", "b"), lock)
    assert raised.value.code == "reserved_field"


def test_a_removed_message_keeps_its_numbers_back():
    """A message that is gone stays in the lock with all its numbers kept back."""

    class Things(Service, name="things", public=True):
        @rpc
        async def nothing(self) -> None:
            """Nothing."""

    lock = update_lock(Things.contract(), update_lock(contract_of("a", "b")))
    assert lock.messages["Thing"].fields == {}
    assert lock.messages["Thing"].reserved == {"a": 1, "b": 2}


def test_the_same_promises_are_the_same_bytes(tmp_path):
    """A lock of the same contract is written once, reads as it was, and its lines name fields and numbers."""
    lock = update_lock(Shop.contract())
    path = tmp_path / "contracts" / "shop.lock"
    assert write_lock(lock, path)
    assert not write_lock(update_lock(Shop.contract(), read_lock(path)), path)
    assert read_lock(path) == lock
    assert '        "quantity": "int64 = 2"\n' in path.read_text()
    assert lock.enums["Color"].values == {"COLOR_UNSPECIFIED": 0, "COLOR_RED": 1, "COLOR_GREEN": 2}
    assert json.loads(lock.text())["document"]["service"] == "shop"
    assert locks_in(tmp_path / "contracts") == {"shop": lock}
    assert locks_in(tmp_path / "nowhere") == {}


def test_members_of_an_enum_keep_their_numbers():
    """A member keeps its number when others come before it."""
    numbers = {"Color": Numbers({"COLOR_UNSPECIFIED": 0, "COLOR_GREEN": 1}, {"COLOR_BLUE": 4})}
    color = next(each for each in schema_of(Shop.contract(), numbers).enums if each.name == "Color")
    assert dict(color.values) == {"COLOR_UNSPECIFIED": 0, "COLOR_RED": 5, "COLOR_GREEN": 1}
    assert color.reserved == {"COLOR_BLUE": 4}


def test_a_lock_belongs_to_one_service():
    """The lock of another service is refused."""
    with pytest.raises(InvalidArgument) as raised:
        update_lock(Shop.contract(), update_lock(contract_of("a")))
    assert raised.value.code == "foreign_lock"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("{", ""),
        ('{"headgate": 9, "service": "a", "version": "1.0.0"}', ""),
        ('{"headgate": 1, "service": "a"}', "/version"),
        ('{"headgate": 1, "service": "a", "version": "1.0.0", "strange": 1}', "/strange"),
        (
            '{"headgate": 1, "service": "a", "version": "1", "messages": {"A": {"fields": {"a": "x"}}}}',
            "/messages/A/fields/a",
        ),
        (
            """{"headgate": 1, "service": "a", "version": "1", "messages":
                {"A": {"fields": {"a": "x = 1"}, "reserved": {"b": 1}}}}""",
            "/messages/A",
        ),
    ],
)
def test_what_is_no_lock_is_refused_with_its_place(text, pointer):
    """A broken lock is refused, and the pointer says where it is wrong."""
    with pytest.raises(InvalidArgument) as raised:
        parse_lock(text)
    assert raised.value.code == "invalid_lock"
    assert [each.pointer for each in raised.value.violations] == ([pointer] if pointer else [])


def test_a_lock_that_cannot_be_read_is_named(tmp_path):
    """Of several locks the one that is wrong is said to be."""
    (tmp_path / "shop.lock").write_text("{")
    with pytest.raises(InvalidArgument, match=r"^shop\.lock: the lock is no JSON"):
        read_lock(tmp_path / "shop.lock")


def test_a_lock_that_is_not_there_is_not_found(tmp_path):
    """A missing file says which."""
    with pytest.raises(NotFound) as raised:
        read_lock(tmp_path / "orders.lock")
    assert raised.value.code == "no_lock"
