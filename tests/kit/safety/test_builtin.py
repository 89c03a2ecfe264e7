"""The built-in scorer: words in disguise, windows, published figures."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headgate
from headgate.kit.safety import corpus, train
from headgate.kit.safety.builtin import CATEGORIES, WEIGHTS, BuiltinScorer, Weights, probability, shipped
from headgate.kit.safety.features import BLOCK, class_of, windows
from headgate.kit.safety.words import LONGEST_WORD, words


def scores(text, scorer=None):
    """The scores of one text."""
    return asyncio.run((scorer or BuiltinScorer()).score(text))


def found(text):
    """The categories found in a text at the default threshold."""
    return {category for category, score in scores(text).items() if score >= 0.8}


@pytest.mark.parametrize(
    ("dressed", "plain"),
    [
        ("\uff24\uff41\uff4d\uff4e", "damn"),
        ("𝓭𝓪𝓶𝓷", "damn"),
        ("d a m n", "damn"),
        ("d.a.m.n", "damn"),
        ("d_a_m_n", "damn"),
        ("d-4-m-n", "damn"),
        ("DAAAAAMN", "damn"),
        ("d4mn", "damn"),
        ("d@mn", "damn"),
        ("dаmn", "damn"),  # noqa: RUF001 - a Cyrillic letter
        ("dámn̈", "damn"),
        ("da\u200bm\u00adn", "damn"),
        ("*damn*", "damn"),
        ("damn!!!", "damn"),
        ("$h!p", "ship"),
        ("don’t", "dont"),  # noqa: RUF001 - the apostrophe that typographers use
        ("sh**p", "sh*p"),
    ],
)
def test_words_are_undressed(dressed, plain):
    """Whatever a word is dressed up as, it is read as the plain word."""
    assert words(f"so {dressed} then") == ["so", plain, "then"]


def test_numbers_and_signs_are_no_words():
    """Digits alone are a number, not the letters they resemble; signs alone are nothing."""
    assert words("room 455 costs $455 ... !!! $name") == ["room", "#", "costs", "#", "name"]


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    """Whatever a text holds, its words are short, and the scores of its windows are probabilities."""
    assert all(0 < len(word) <= LONGEST_WORD for word in words(text))
    assert all(0.0 <= score <= 1.0 for score in scores(text).values())


def test_forms_of_a_word_have_its_class():
    """A word is of the class of what it is a form of."""
    assert {class_of(word) for word in ("stab", "stabs", "stabbed", "stabbing")} == {class_of("kill")} != {""}
    assert class_of("table") == ""


@given(
    st.lists(
        st.sampled_from(["you", "are", "a", "kind", "fool", "and", "I", "will", "kill", "the", "server", "tonight"]),
        max_size=80,
    )
)
def test_the_fast_way_is_the_documented_way(chosen):
    """The scorer's own loop adds up the features as they are documented."""
    text = " ".join(chosen)
    weights = shipped()
    expected = {
        category: max(
            (
                probability(
                    weights.bias[at] + sum(weights.features[each][at] for each in window if each in weights.features)
                )
                for window in windows(text)
            ),
            default=0.0,
        )
        for at, category in enumerate(CATEGORIES)
    }
    assert scores(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("You are a stupid idiot and everybody hates you", "harassment"),
        ("All immigrants are vermin and should be exterminated", "hate"),
        ("I will kill you", "violence_threat"),
        ("I want to see you naked, have sex with me", "sexual"),
        ("I want to kill myself tonight", "self_harm"),
        ("What the f u c k is this", "profanity"),
    ],
)
def test_what_is_unwanted_is_found(text, category):
    """Plain cases of each category are found, also in the midst of a long text."""
    assert category in found(text)
    harmless = "The committee approved the budget for next year. " * 20
    assert category in found(f"{harmless}{text}. {harmless}")


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a python process?",
        "Scunthorpe is a town in Lincolnshire, and Penistone one in Yorkshire.",
        "Shoot me an email when the build is done.",
        "The patient was examined for breast cancer.",
        "Police said two people were shot and one was killed in the attack.",
        "kill -9 $(pgrep -f python)",
        "",
        "42",
    ],
)
def test_what_only_sounds_like_it_passes(text):
    """Words that are harmless in their sense pass."""
    assert not found(text)


def test_a_text_cannot_hide_behind_its_rest():
    """However long the harmless text around it, twelve words in a row are judged as a whole."""
    bad = "i will kill you"
    alone = scores(bad)["violence_threat"]
    assert alone >= 0.8
    for before in range(0, 3 * BLOCK, 5):
        assert scores(f"{'the river is wide ' * before}{bad}{' the river is wide' * 40}")["violence_threat"] >= 0.5


def test_what_it_remembers_is_bounded(monkeypatch):
    """The memory for words does not grow with the words it has seen, and changes no score."""
    monkeypatch.setattr("headgate.kit.safety.builtin._MOST_CACHED", 50)
    scorer = BuiltinScorer()
    first = scores("you are a stupid idiot", scorer)
    scores(" ".join(f"word{chr(97 + number % 26)}{number}" for number in range(1000)), scorer)
    assert len(scorer._words) <= 50
    assert scores("you are a stupid idiot", scorer) == first


async def test_others_have_their_turn():
    """A long text does not keep the event loop from everything else."""
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await BuiltinScorer().score("the river is wide " * 2000)
    task.cancel()
    assert turns > 5


def test_weights_survive_their_file():
    """Decoded, an encoded model differs by no more than half a step of its eight bits; nonsense is refused."""
    model = Weights(("a", "b"), (-1.0, 2.0), {3: (0.5, -2.0), 900_000: (1.27, 0.0)})
    again = Weights.decode(model.encode())
    assert (again.categories, again.bias) == (model.categories, model.bias)
    for number, vector in model.features.items():
        assert again.features[number] == pytest.approx(vector, abs=0.01)
    with pytest.raises(ValueError, match="not weights"):
        Weights.decode(b"nonsense")


def test_the_weights_are_small():
    """The weights take little of the package."""
    assert len(WEIGHTS.read_bytes()) <= 500_000


def test_the_published_figures_hold():
    """The reference page is what the weights in the package reach on held-out texts."""
    file = headgate.__path__[0]
    published = train.Path(file).parents[1] / train.PAGE
    if not published.exists():
        pytest.skip("the reference pages are not beside an installed package")
    assert published.read_text(encoding="utf-8") == train.page(shipped(), corpus.read())


@pytest.mark.soak
def test_the_weights_are_those_of_the_corpus(tmp_path):
    """Trained anew, the corpus gives the weights in the package."""
    train.main(["--weights", str(tmp_path / "weights.bin"), "--page", str(tmp_path / "page.md")])
    again = Weights.decode((tmp_path / "weights.bin").read_bytes())
    now, then = train.measure(again, corpus.read()), train.measure(shipped(), corpus.read())
    # The last bit of a logarithm may differ from one machine's library to another's.
    assert now.overall.f1 == pytest.approx(then.overall.f1, abs=0.01)
    for category in CATEGORIES:
        assert now.categories[category].f1 == pytest.approx(then.categories[category].f1, abs=0.03)


def test_the_figures_are_worth_publishing():
    """On held-out texts most alarms are right, and most of what is unwanted is found."""
    overall = train.measure(shipped(), corpus.read()).overall
    assert overall.precision >= 0.9
    assert overall.recall >= 0.7


def test_more_texts_can_be_learned_from(tmp_path):
    """A corpus of one's own is learned from besides the one in the package."""
    texts = [
        f"the {colour} zorgle flies" for colour in ("red", "green", "blue", "pink", "grey", "black", "white", "brown")
    ]
    lines = [json.dumps({"text": text, "labels": ["harassment"]}) for text in texts]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    examples = corpus.read([tmp_path / "own.jsonl"])
    harmless = [corpus.Example(f"the {word} is here", ()) for word in texts]
    weights = train.train([*examples, *harmless])
    assert (
        scores("a zorgle", BuiltinScorer(weights))["harassment"]
        > scores("a river", BuiltinScorer(weights))["harassment"]
    )


def test_the_corpus_is_sound():
    """Every text of the corpus has known labels and stands in it once."""
    examples = corpus.read()
    assert len({example.text for example in examples}) == len(examples) >= 1500
    assert {label for example in examples for label in example.labels} == set(CATEGORIES)
    assert sum(example.held_out for example in examples) >= 300
