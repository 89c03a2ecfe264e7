"""A TensorFlow SavedModel as a scorer, for those who have TensorFlow: it is no dependency of ours (1.4 GB).

    scorer = SavedModelScorer(Path("toxicity/1"), ["toxic", "threat"])

The signature has one input. When it is of type string, it is given texts, shape [N] or [N, 1]; when it is float32 of
shape [N, width], the features of `headgate.kit.safety.vectors`. Of its outputs, `output` or the only one has shape
[N, number of labels] with probabilities. The model runs in a thread.
"""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.controls.window import Segmenter
from headgate.kit.safety.vectors import checked, invalid_model, labels_from, vectors, worst

_BATCH: Final = 32


class SavedModelScorer:
    """Runs `signature` of the model in directory `model`, loaded here: that takes seconds.

    `longest` is the most characters of a text given to a model that takes texts. Raises InvalidArgument
    (`invalid_safety_model`) for a model of another form, FailedPrecondition (`extra_missing`) without TensorFlow.
    """

    def __init__(
        self,
        model: Path,
        labels: Path | Sequence[str],
        *,
        signature: str = "serving_default",
        output: str = "",
        longest: int = 400,
        name: str = "saved_model",
    ) -> None:
        try:
            import tensorflow as tf
        except ImportError as missing:
            raise FailedPrecondition(
                "TensorFlow is not installed", code="extra_missing", hint="pip install tensorflow-cpu"
            ) from missing
        self.name: Final = name
        self._tensorflow = tf
        self._labels = labels_from(labels)
        self._longest = longest
        try:
            # The signatures hold the model's variables weakly: without the model they are gone.
            self._model = tf.saved_model.load(str(model))
        except (OSError, ValueError) as error:
            raise invalid_model("no SavedModel can be read there") from error
        if signature not in self._model.signatures:
            raise invalid_model(f"it has no signature '{signature}', but {', '.join(self._model.signatures)}")
        self._call = self._model.signatures[signature]
        self._input, self._shape, self._of_texts = self._read_input()
        self._output = self._read_output(output)

    def _read_input(self) -> tuple[str, tuple[int | None, ...], bool]:
        """Name and shape of the input, and whether it takes texts."""
        inputs = self._call.structured_input_signature[1]
        if len(inputs) != 1:
            raise invalid_model(f"it has {len(inputs)} inputs, not one")
        ((name, spec),) = inputs.items()
        shape = tuple(spec.shape.as_list()) if spec.shape.rank is not None else ()
        if spec.dtype == self._tensorflow.string:
            return name, shape, True
        if spec.dtype != self._tensorflow.float32 or len(shape) != 2 or not shape[1]:
            raise invalid_model(f"its input is {spec.dtype.name} of shape {shape}: neither texts nor features")
        return name, shape, False

    def _read_output(self, wanted: str) -> str:
        outputs = self._call.structured_outputs
        name = wanted or (next(iter(outputs)) if len(outputs) == 1 else "")
        if name not in outputs:
            raise invalid_model(f"choose one of its outputs: {', '.join(sorted(outputs))}")
        width = outputs[name].shape.as_list()[-1] if outputs[name].shape.rank else None
        if width is not None:
            checked(self._labels, width)
        return name

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each label, that of the worst window or part."""
        return await asyncio.to_thread(self._score, text)

    def _score(self, text: str) -> Mapping[str, float]:
        kind = self._tensorflow.string if self._of_texts else self._tensorflow.float32
        rows = self._texts(text) if self._of_texts else vectors(text, self._shape[1] or 0)
        answers: list[Sequence[float]] = []
        while batch := list(itertools.islice(rows, _BATCH)):
            given = self._tensorflow.constant(batch, dtype=kind)
            answer = self._call(**{self._input: given})[self._output].numpy()
            if answer.ndim != 2:
                raise invalid_model(f"it answered with {answer.ndim} dimensions, not 2")
            checked(self._labels, answer.shape[1])
            answers.extend(answer)
        return worst(self._labels, answers)

    def _texts(self, text: str) -> Iterator[Any]:
        segmenter = Segmenter(self._longest)
        for part in itertools.chain(segmenter.feed(text), segmenter.finish()):
            yield [part] if len(self._shape) == 2 else part
