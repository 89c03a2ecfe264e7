"""The built-in model as a TensorFlow Lite file: `python -m headgate.kit.safety.export model.tflite labels.txt`.

A fully connected layer and a logistic function, over vectors of `size` features. A model of your own that
takes the same vectors can take its place. Built with the schema that LiteRT brings along (extra `safety`).
Features share a place more often in a short vector: what it scores then differs a little from the scorer's.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from headgate.kit.safety.builtin import Weights, shipped
from headgate.kit.safety.refusals import not_installed

SIZE: Final = 1 << 16
_FLOAT32: Final = 0


def tflite(weights: Weights, size: int = SIZE) -> bytes:
    """`weights` as a model with one input of shape [1, size]."""
    try:
        import flatbuffers  # type: ignore[import-untyped]
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as missing:
        raise not_installed("ai-edge-litert", "safety") from missing
    count = len(weights.categories)
    matrix = np.zeros((count, size), dtype="<f4")
    for number, vector in weights.features.items():
        matrix[:, number % size] += vector
    buffers = [b"", matrix.tobytes(), np.asarray(weights.bias, dtype="<f4").tobytes()]
    model = schema.ModelT()
    model.version = 3
    model.description = "headgate built-in content scorer"
    model.buffers = [_buffer(schema, data) for data in buffers]
    model.operatorCodes = [
        _operator(schema, schema.BuiltinOperator.FULLY_CONNECTED),
        _operator(schema, schema.BuiltinOperator.LOGISTIC),
    ]
    model.subgraphs = [_graph(schema, count, size)]
    builder = flatbuffers.Builder(matrix.nbytes + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _graph(schema: Any, count: int, size: int) -> Any:
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        _tensor(schema, "features", [1, size], 0),
        _tensor(schema, "weights", [count, size], 1),
        _tensor(schema, "bias", [count], 2),
        _tensor(schema, "logits", [1, count], 0),
        _tensor(schema, "probabilities", [1, count], 0),
    ]
    connected, logistic = schema.OperatorT(), schema.OperatorT()
    connected.opcodeIndex, connected.inputs, connected.outputs = 0, [0, 1, 2], [3]
    connected.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    connected.builtinOptions = schema.FullyConnectedOptionsT()
    logistic.opcodeIndex, logistic.inputs, logistic.outputs = 1, [3], [4]
    graph.operators = [connected, logistic]
    graph.inputs, graph.outputs = [0], [4]
    return graph


def _tensor(schema: Any, name: str, shape: list[int], buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = name, shape, buffer, _FLOAT32
    return tensor


def _buffer(schema: Any, data: bytes) -> Any:
    import numpy as np

    buffer = schema.BufferT()
    if data:
        buffer.data = np.frombuffer(data, dtype=np.uint8)
    return buffer


def _operator(schema: Any, code: int) -> Any:
    operator = schema.OperatorCodeT()
    operator.builtinCode = operator.deprecatedBuiltinCode = code
    operator.version = 1
    return operator


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the model and its labels."""
    parser = argparse.ArgumentParser(prog="python -m headgate.kit.safety.export", description="Export the scorer.")
    parser.add_argument("model", type=Path, help="where the model goes")
    parser.add_argument("labels", type=Path, help="where its labels go, one on each line")
    parser.add_argument("--size", type=int, default=SIZE, help="the width of the feature vectors")
    given = parser.parse_args(arguments)
    weights = shipped()
    given.model.write_bytes(tflite(weights, given.size))
    given.labels.write_text("\n".join(weights.categories) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
