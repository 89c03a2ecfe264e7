"""A TensorFlow Lite classifier as a scorer, run by LiteRT on the CPU.

    scorer = TfliteScorer(Path("toxicity.tflite"), Path("labels.txt"))

The model has one input, float32 of shape [1, N] with the features of `headgate.kit.safety.vectors`, and one output
of shape [1, number of labels] with probabilities: float32, or quantised to 8 bits with scale and zero
point. `python -m headgate.kit.safety.export` writes the built-in model in this form, to start from.
Needs the extra `safety`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headgate.kit.safety.refusals import not_installed
from headgate.kit.safety.vectors import checked, invalid_model, labels_from, vectors, worst

_PAUSE_AFTER: Final = 16
"""Windows after which other tasks have their turn: some two milliseconds."""


class TfliteScorer:
    """Runs the model in file `model`; `labels` are its categories or the file with one on each line.

    Raises InvalidArgument (`invalid_safety_model`) for a model of another form, FailedPrecondition
    (`extra_missing`) without LiteRT.
    """

    def __init__(self, model: Path, labels: Path | Sequence[str], *, threads: int = 1, name: str = "tflite") -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as missing:
            raise not_installed("ai-edge-litert", "safety") from missing
        self.name: Final = name
        self._labels = labels_from(labels)
        try:
            self._interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, OSError) as error:
            raise invalid_model("it is no TensorFlow Lite model, or one with operations unknown here") from error
        self._input, self._size = _input(self._interpreter)
        self._output, self._scale, self._zero = _output(self._interpreter, self._labels)

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each label, that of the worst window."""
        interpreter, rows = self._interpreter, []
        for at, vector in enumerate(vectors(text, self._size), start=1):
            if at % _PAUSE_AFTER == 0:
                await asyncio.sleep(0)
            interpreter.set_tensor(self._input, vector[None, :])
            interpreter.invoke()
            rows.append((interpreter.get_tensor(self._output)[0].astype("float32") - self._zero) * self._scale)
        return worst(self._labels, rows)


def _input(interpreter: Any) -> tuple[int, int]:
    """The index of the input and its width."""
    inputs = interpreter.get_input_details()
    if len(inputs) != 1:
        raise invalid_model(f"it has {len(inputs)} inputs, not one")
    shape = [int(size) for size in inputs[0]["shape"]]
    if len(shape) != 2 or shape[0] != 1 or inputs[0]["dtype"].__name__ != "float32":
        raise invalid_model(f"its input is {inputs[0]['dtype'].__name__} of shape {shape}, not float32 of [1, N]")
    return int(inputs[0]["index"]), shape[1]


def _output(interpreter: Any, labels: Sequence[str]) -> tuple[int, float, int]:
    """The index of the output, and its scale and zero point."""
    outputs = interpreter.get_output_details()
    if len(outputs) != 1:
        raise invalid_model(f"it has {len(outputs)} outputs, not one")
    shape = [int(size) for size in outputs[0]["shape"]]
    checked(labels, shape[-1])
    scale, zero = outputs[0]["quantization"]
    if outputs[0]["dtype"].__name__ == "float32":
        scale, zero = 1.0, 0
    elif not scale:
        raise invalid_model("its output is quantised without a scale")
    return int(outputs[0]["index"]), float(scale), int(zero)
