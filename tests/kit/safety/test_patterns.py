"""Personal data and secrets by their form."""

import pytest

from headgate.kit.safety.patterns import PatternScorer


@pytest.mark.parametrize(
    "text",
    [
        "write to ann.bee+news@mail.example.co.uk please",
        "card 4111 1111 1111 1111",
        "card 5500-0000-0000-0004.",
        "IBAN DE89 3704 0044 0532 0130 00",
        "iban GB82WEST12345698765432",
        "my number is 123-45-6789",
        "call +49 (30) 1234-5678",
    ],
)
async def test_personal_data_is_found(text):
    """Addresses, cards, accounts and numbers of persons are found."""
    assert await PatternScorer().score(text) == {"pii": 1.0, "secret": 0.0}


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nabc",
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_1",
        "sk-abcdefghijklmnopqrstuvwx",
        "sk_live_abcdefghijklmnopqrstuvwx",
        "AIza" + "x" * 35,
        "AKIA" + "A" * 16,
        "ghp_" + "a" * 36,
        "xoxb-1234567890-abc",
        "hg_" + "x" * 43,
    ],
)
async def test_secrets_are_found(text):
    """Keys and tokens are found by the form that their issuers give them."""
    assert await PatternScorer().score(f"it is {text}") == {"pii": 0.0, "secret": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "order 4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "DE00 3704 0044 0532 0130 00",
        "version 1.2.3, 2026-11-21, 10:20:30",
        "3.14159265358979",
        "a @ b, user@localhost",
        "000-12-3456",
        "2 + 2 = 4, +1",
        "bearer of bad news",
        "skip-this-very-long-hyphenated-word-here",
    ],
)
async def test_what_only_looks_like_it_passes(text):
    """Numbers whose check digits are wrong, versions, dates and words pass."""
    assert await PatternScorer().score(text) == {"pii": 0.0, "secret": 0.0}


async def test_either_can_be_left_out():
    """A scorer for one of the two says nothing of the other."""
    assert await PatternScorer(secret=False).score("x") == {"pii": 0.0}
    assert await PatternScorer(pii=False).score("x") == {"secret": 0.0}


@pytest.mark.parametrize(
    "piece", ["eyJaaaaaaaa-", "a.b-c@", "1 2-3", "AA11 AAAA ", "-----BEGIN A ", "bearer   ", "+1 "]
)
async def test_hostile_texts_take_no_longer(piece):
    """What begins like a secret over and over is read once, not once for each beginning: else this takes minutes."""
    assert await PatternScorer().score(piece * (500_000 // len(piece))) == {"pii": 0.0, "secret": 0.0}
