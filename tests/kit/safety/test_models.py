"""Scorers that run models: TensorFlow Lite by a real interpreter, SavedModel by TensorFlow or what looks like it."""

import asyncio
import os
import sys
import types

import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.kit.safety import Gate
from headgate.kit.safety.builtin import CATEGORIES, BuiltinScorer, shipped
from headgate.kit.safety.features import BUCKETS, windows
from headgate.kit.safety.saved_model import SavedModelScorer
from headgate.kit.safety.vectors import labels_from, vectors

TEXTS = (
    "You are a stupid idiot, I will kill you",
    "How do I kill a python process?",
    "the river is wide " * 40 + "you are a stupid idiot",
)


def needs(module):
    """Skip without a package; where everything is to be tested, fail."""
    if os.environ.get("CI"):
        return __import__(module)
    return pytest.importorskip(module)


def scores(scorer, text):
    """The scores of one text."""
    return asyncio.run(scorer.score(text))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The built-in model as a TensorFlow Lite file, and its labels."""
    needs("ai_edge_litert")
    from headgate.kit.safety import export

    folder = tmp_path_factory.mktemp("tflite")
    export.main([str(folder / "model.tflite"), str(folder / "labels.txt")])
    return folder / "model.tflite", folder / "labels.txt"


def test_vectors_hold_the_features():
    """A vector counts the features of a window, each at its number modulo the size."""
    needs("numpy")
    text = "the river is wide " * 10
    for vector, numbers in zip(vectors(text, 512), windows(text), strict=True):
        assert vector.shape == (512,)
        assert vector.sum() == len(numbers)
        assert all(vector[number % 512] >= 1 for number in numbers)


@pytest.mark.parametrize("text", TEXTS)
def test_an_exported_model_scores_as_the_scorer(tmp_path, text):
    """LiteRT, run on the exported model with a place for each feature, gives the scores of the built-in scorer."""
    needs("ai_edge_litert")
    from headgate.kit.safety.export import tflite
    from headgate.kit.safety.tflite import TfliteScorer

    (tmp_path / "model.tflite").write_bytes(tflite(shipped(), BUCKETS))
    scorer = TfliteScorer(tmp_path / "model.tflite", CATEGORIES)
    assert scores(scorer, text) == pytest.approx(scores(BuiltinScorer(), text), abs=1e-3)


def test_a_short_vector_still_serves(exported):
    """With fewer places than features, which then share them, plain cases are still told apart."""
    from headgate.kit.safety.tflite import TfliteScorer

    scorer = TfliteScorer(*exported)
    assert scores(scorer, TEXTS[0])["harassment"] >= 0.8
    assert max(scores(scorer, TEXTS[1]).values()) < 0.8


def test_a_text_without_words_has_no_scores(exported):
    """A text without words is given to no model."""
    from headgate.kit.safety.tflite import TfliteScorer

    assert scores(TfliteScorer(*exported), "...") == dict.fromkeys(CATEGORIES, 0.0)


def test_models_are_asked_many_times_at_once(exported):
    """One interpreter serves all texts that are judged at the same time."""
    from headgate.kit.safety.tflite import TfliteScorer

    gate = Gate([TfliteScorer(*exported)], action="flag")

    async def judge():
        return await asyncio.gather(*(gate.judge(TEXTS[number % 3]) for number in range(12)))

    found = [judgement.categories for judgement in asyncio.run(judge())]
    assert found[:3] * 4 == found
    assert found[0]
    assert not found[1]


def test_labels_must_fit(exported, tmp_path):
    """A model with other outputs than labels is refused, as are labels that cannot be read or are twice there."""
    from headgate.kit.safety.tflite import TfliteScorer

    for labels in (["a", "b"], ["a"] * 6, [], tmp_path / "missing.txt"):
        with pytest.raises(InvalidArgument) as refused:
            TfliteScorer(exported[0], labels)
        assert refused.value.code == "invalid_safety_model"
    assert labels_from(exported[1]) == CATEGORIES


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_what_is_no_model_is_refused(exported, tmp_path, content):
    """A file that is no model, or not there, is refused as the scorer is made."""
    from headgate.kit.safety.tflite import TfliteScorer

    (tmp_path / "broken.tflite").write_bytes(content)
    for name in ("broken.tflite", "missing.tflite"):
        with pytest.raises(InvalidArgument):
            TfliteScorer(tmp_path / name, exported[1])


def test_quantised_outputs_are_probabilities(tmp_path):
    """An output of eight bits is scaled to what it stands for."""
    np = needs("numpy")
    from headgate.kit.safety.tflite import TfliteScorer

    class Eight:
        """What LiteRT's interpreter tells of a model with a quantised output."""

        def get_input_details(self):
            return [{"index": 0, "shape": np.array([1, 64]), "dtype": np.float32, "quantization": (0.0, 0)}]

        def get_output_details(self):
            return [{"index": 1, "shape": np.array([1, 2]), "dtype": np.uint8, "quantization": (1 / 256, 0)}]

        def allocate_tensors(self):
            pass

        def set_tensor(self, index, value):
            assert (index, value.shape, value.dtype) == (0, (1, 64), np.float32)

        def invoke(self):
            pass

        def get_tensor(self, index):
            return np.array([[64, 192]], dtype=np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ai_edge_litert.interpreter.Interpreter", lambda **_: Eight())
        scorer = TfliteScorer(tmp_path / "x.tflite", ["a", "b"])
    assert scores(scorer, "some words") == {"a": 0.25, "b": 0.75}


def test_no_runtime_is_told(monkeypatch, tmp_path):
    """Without LiteRT or TensorFlow the fault says what to install."""
    from headgate.kit.safety.tflite import TfliteScorer

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(FailedPrecondition) as missing:
        TfliteScorer(tmp_path / "x", ["a"])
    assert (missing.value.code, missing.value.hint) == ("extra_missing", "pip install 'headgate[safety]'")
    with pytest.raises(FailedPrecondition, match="TensorFlow"):
        SavedModelScorer(tmp_path, ["a"])


class Shape:
    """tf.TensorShape: dimensions, None for any."""

    def __init__(self, *sizes):
        self.sizes, self.rank = list(sizes), len(sizes)

    def as_list(self):
        return self.sizes


class Spec:
    """tf.TensorSpec."""

    def __init__(self, dtype, *sizes):
        self.dtype, self.shape = dtype, Shape(*sizes)


class Constant:
    """An eager tensor: what went in, as numpy."""

    def __init__(self, value):
        self.value = value

    def numpy(self):
        return self.value


class Signature:
    """A concrete function of a SavedModel: `answer` makes a row for each row it is given."""

    def __init__(self, inputs, outputs, answer):
        self.structured_input_signature = ((), inputs)
        self.structured_outputs = outputs
        self.answer = answer
        self.batches = []

    def __call__(self, **given):
        import numpy as np

        assert set(given) == set(self.structured_input_signature[1])
        (tensor,) = given.values()
        self.batches.append(tensor.value)
        rows = np.asarray([self.answer(row) for row in tensor.value], dtype=np.float32)
        return {name: Constant(rows) for name in self.structured_outputs}


@pytest.fixture
def tensorflow(monkeypatch):
    """A stand-in with the surface of TensorFlow that the scorer uses; `models` are what can be loaded."""
    needs("numpy")
    module = types.ModuleType("tensorflow")
    module.string, module.float32 = types.SimpleNamespace(name="string"), types.SimpleNamespace(name="float32")
    module.models = {}

    def load(path):
        if path not in module.models:
            raise OSError(f"SavedModel file does not exist at: {path}")
        return types.SimpleNamespace(signatures=module.models[path])

    def constant(value, dtype):
        import numpy as np

        return Constant(value if dtype is module.string else np.asarray(value, dtype=np.float32))

    module.saved_model = types.SimpleNamespace(load=load)
    module.constant = constant
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    return module


def put(tensorflow, path, inputs, answer, outputs=None):
    """Let a model with one signature be loaded from a path."""
    outputs = {"scores": Spec(tensorflow.float32, None, 2)} if outputs is None else outputs
    signature = Signature(inputs, outputs, answer)
    tensorflow.models[str(path)] = {"serving_default": signature}
    return signature


@pytest.mark.parametrize("sizes", [(None,), (None, 1)])
def test_a_saved_model_may_take_texts(tensorflow, tmp_path, sizes):
    """A model with a string input is given the text in parts, of which the worst counts."""

    def answer(row):
        return [float("badger" in (row if isinstance(row, str) else row[0])), 0.25]

    signature = put(tensorflow, tmp_path, {"text": Spec(tensorflow.string, *sizes)}, answer)
    scorer = SavedModelScorer(tmp_path, ["bad", "other"], longest=40)
    assert scores(scorer, "So it goes. " * 200 + "A badger.") == {"bad": 1.0, "other": 0.25}
    assert len(signature.batches) > 1
    assert all(len(batch) <= 32 for batch in signature.batches)


def test_a_saved_model_may_take_features(tensorflow, tmp_path):
    """A model with a float input is given the vectors of the windows."""
    signature = put(
        tensorflow, tmp_path, {"x": Spec(tensorflow.float32, None, 128)}, lambda row: [row.sum() / 1000, 0.5]
    )
    scorer = SavedModelScorer(tmp_path, ["many", "half"])
    found = scores(scorer, TEXTS[0])
    assert found == {"many": pytest.approx(len(windows(TEXTS[0])[0]) / 1000), "half": 0.5}
    assert signature.batches[0].shape == (1, 128)
    assert scores(scorer, "...") == {"many": 0.0, "half": 0.0}


def test_a_saved_model_of_another_form_is_refused(tensorflow, tmp_path):
    """A model that is not there, or has other inputs, outputs or signatures, is refused as the scorer is made."""
    text = Spec(tensorflow.string, None)
    two = {"a": Spec(tensorflow.float32, None, 2), "b": Spec(tensorflow.float32, None, 2)}
    with pytest.raises(InvalidArgument, match="no SavedModel"):
        SavedModelScorer(tmp_path / "missing", ["a", "b"])
    for inputs, outputs, options, says in (
        ({"x": text, "y": text}, None, {}, "2 inputs"),
        ({"x": Spec(types.SimpleNamespace(name="int64"), None, 3)}, None, {}, "int64"),
        ({"x": Spec(tensorflow.float32, None, None)}, None, {}, "neither"),
        ({"x": text}, two, {}, "choose one"),
        ({"x": text}, None, {"signature": "other"}, "no signature 'other'"),
        ({"x": text}, {"s": Spec(tensorflow.float32, None, 3)}, {}, "3 outputs and 2 labels"),
    ):
        put(tensorflow, tmp_path, inputs, lambda _row: [0, 0], outputs)
        with pytest.raises(InvalidArgument, match=says):
            SavedModelScorer(tmp_path, ["a", "b"], **options)
    put(tensorflow, tmp_path, {"x": text}, lambda _row: [0.5, 1], two)
    assert scores(SavedModelScorer(tmp_path, ["a", "b"], output="b"), "hello") == {"a": 0.5, "b": 1.0}


def test_a_width_that_is_not_told_is_checked_later(tensorflow, tmp_path):
    """A model that does not say how many outputs it has is checked by its first answer."""
    outputs = {"s": Spec(tensorflow.float32, None, None)}
    put(tensorflow, tmp_path, {"x": Spec(tensorflow.string, None)}, lambda _row: [0, 0, 0], outputs)
    with pytest.raises(InvalidArgument, match="3 outputs and 2 labels"):
        scores(SavedModelScorer(tmp_path, ["a", "b"]), "hello")


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["texts", "features"])
def test_a_real_saved_model(tmp_path, kind):
    """TensorFlow itself, where it is installed: a model of each form is saved, loaded and asked."""
    tf = pytest.importorskip("tensorflow")
    weights = shipped()

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            import numpy as np

            matrix = np.zeros((4096, len(weights.categories)), dtype=np.float32)
            for number, vector in weights.features.items():
                matrix[number % 4096] += vector
            self.matrix = tf.Variable(matrix)

        @tf.function(input_signature=[tf.TensorSpec([None, 4096], tf.float32, name="features")])
        def features(self, features):
            return {"scores": tf.sigmoid(features @ self.matrix + list(weights.bias))}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def texts(self, text):
            found = tf.cast(tf.strings.regex_full_match(text, "(?s).*idiot.*"), tf.float32)
            return {"scores": tf.stack([found, 1.0 - found], axis=1)}

    model = Model()
    tf.saved_model.save(model, str(tmp_path), signatures=getattr(model, kind))
    scorer = SavedModelScorer(tmp_path, CATEGORIES if kind == "features" else ["idiot", "none"])
    bad, good = scores(scorer, TEXTS[0]), scores(scorer, "the river is wide")
    first = scorer._labels[0]
    assert bad[first] >= 0.8 > good[first]
