"""The network all-MiniLM-L6-v2 twice: as a quantised ONNX graph, and exactly. scripts/make-encoder uses both."""

from __future__ import annotations

import math

import numpy
import onnx

HIDDEN, HEADS, LAYERS, EPSILON = 384, 12, 6, 1e-12
# Positions that the graph knows; the gateway reads no more tokens.
MOST = 128
# Seven bits for the matrices: on x86 without VNNI two products are added in 16 bits, and eight bits would saturate
# there. So every machine computes the same integers. The table of words is only looked up: eight.
MATRIX, TABLE = 63, 127
# The file of the large constants; smaller ones stay in the graph.
WEIGHTS = "minilm-l6-int8.data"
APART = 1024


class Graph:
    """Collects operators and constants; large constants go to a file apart, which the program maps and never copies."""

    def __init__(self) -> None:
        self.nodes, self.constants, self.apart = [], [], bytearray()

    def constant(self, name: str, array) -> str:
        array = numpy.asarray(array, order="C")
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
        if array.nbytes < APART:
            tensor.raw_data = array.tobytes()
        else:
            self.apart.extend(bytes(-len(self.apart) % 64))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", WEIGHTS), ("offset", len(self.apart)), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            self.apart.extend(array.tobytes())
        self.constants.append(tensor)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes):
        first = name or f"{kind}_{len(self.nodes)}"
        names = [first] if outputs == 1 else [f"{first}_{index}" for index in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return first if outputs == 1 else names

    def linear(self, name: str, quantised: list[str], weight, bias) -> str:
        """Integers times integers, then one scale for each column: the form that rten fuses into one operator."""
        values, scale, zero = quantised
        integers, scales = rounded(weight, 0, MATRIX)
        none = self.constant(f"{name}.zero", numpy.zeros((), numpy.int8))
        product = self.op("MatMulInteger", values, self.constant(f"{name}.weight", integers), zero, none)
        scales = self.op("Mul", scale, self.constant(f"{name}.scale", scales.reshape(-1)))
        product = self.op("Mul", self.op("Cast", product, to=onnx.TensorProto.FLOAT), scales)
        return self.op("Add", product, self.constant(f"{name}.bias", bias))

    def norm(self, name: str, value: str, weights: dict) -> str:
        scale = self.constant(f"{name}.weight", weights[f"{name}.weight"])
        shift = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.op("LayerNormalization", value, scale, shift, axis=-1, epsilon=EPSILON)

    def quantise(self, value: str) -> list[str]:
        return self.op("DynamicQuantizeLinear", value, outputs=3)


def rounded(weight, axis: int, limit: int):
    """Symmetric integers, and the scale of each column or row."""
    scale = numpy.abs(weight).max(axis=axis, keepdims=True) / numpy.float32(limit)
    scale = numpy.where(scale == 0, numpy.float32(1), scale)
    return numpy.clip(numpy.rint(weight / scale), -limit, limit).astype(numpy.int8), scale


def build(weights: dict) -> tuple[bytes, bytes]:
    graph = Graph()
    whole = lambda name, *values: graph.constant(name, numpy.array(values, numpy.int64))  # noqa: E731
    # Every position has token type 0: one table for both. The positions beyond what is read are left out.
    integers, scales = rounded(weights["embeddings.word_embeddings.weight"], 1, TABLE)
    places = weights["embeddings.position_embeddings.weight"][:MOST]
    places = places + weights["embeddings.token_type_embeddings.weight"][0]
    rows = graph.op("Gather", graph.constant("words", integers), "ids")
    rows = graph.op("Cast", rows, to=onnx.TensorProto.FLOAT)
    rows = graph.op("Mul", rows, graph.op("Gather", graph.constant("words.scale", scales), "ids"))
    count = graph.op("Shape", "ids", start=1, end=2)
    first = whole("first", 0)
    places = graph.op("Slice", graph.constant("places", places), first, count, first)
    state = graph.norm("embeddings.LayerNorm", graph.op("Add", rows, places), weights)

    split, merge = whole("split", 1, -1, HEADS, HIDDEN // HEADS), whole("merge", 1, -1, HIDDEN)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        part = lambda key: (weights[f"{name}.{key}.weight"].T, weights[f"{name}.{key}.bias"])  # noqa: E731, B023
        three = [part(f"attention.self.{key}") for key in ("query", "key", "value")]
        # The query carries the 1/sqrt of the width of a head.
        shrink = numpy.float32(1 / math.sqrt(HIDDEN // HEADS))
        three[0] = tuple(values * shrink for values in three[0])
        weight, bias = (numpy.concatenate(parts, axis=-1) for parts in zip(*three))
        mixed = graph.linear(f"{name}.attention.self", graph.quantise(state), weight, bias)
        turned = [
            graph.op("Transpose", graph.op("Reshape", values, split), perm=order)
            for values, order in zip(
                graph.op("Split", mixed, axis=2, num_outputs=3, outputs=3),
                ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]),
            )
        ]
        heeded = graph.op("Softmax", graph.op("MatMul", *turned[:2]), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", heeded, turned[2]), perm=[0, 2, 1, 3])
        mixed = graph.quantise(graph.op("Reshape", mixed, merge))
        mixed = graph.linear(f"{name}.attention.output", mixed, *part("attention.output.dense"))
        state = graph.norm(f"{name}.attention.output.LayerNorm", graph.op("Add", mixed, state), weights)
        wide = graph.linear(f"{name}.intermediate", graph.quantise(state), *part("intermediate.dense"))
        wide = graph.linear(f"{name}.output", graph.quantise(graph.op("Gelu", wide)), *part("output.dense"))
        state = graph.norm(f"{name}.output.LayerNorm", graph.op("Add", wide, state), weights)

    # One text at a time and no padding: the mean needs no mask.
    mean = graph.op("ReduceMean", state, whole("tokens", 1), keepdims=0)
    graph.op("LpNormalization", mean, axis=-1, p=2, name="vector")

    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "minilm-l6-int8",
            [value("ids", onnx.TensorProto.INT32, [1, "tokens"])],
            [value("vector", onnx.TensorProto.FLOAT, [1, HIDDEN])],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
        producer_name="sluice",
    )
    return made.SerializeToString(deterministic=True), bytes(graph.apart)


def exact(weights: dict, ids: list[int]):
    """The same network in F64, straight from the weights."""
    linear = lambda key, value: value @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]  # noqa: E731

    def norm(key, value):
        value = value - value.mean(-1, keepdims=True)
        value = value / numpy.sqrt((value**2).mean(-1, keepdims=True) + EPSILON)
        return value * weights[f"{key}.weight"] + weights[f"{key}.bias"]

    table = "embeddings.{}_embeddings.weight".format
    state = weights[table("word")][ids] + weights[table("position")][: len(ids)] + weights[table("token_type")][0]
    state = norm("embeddings.LayerNorm", state)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            linear(f"{name}.attention.self.{part}", state).reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        heed = query @ key.transpose(0, 2, 1) / math.sqrt(HIDDEN // HEADS)
        heed = numpy.exp(heed - heed.max(-1, keepdims=True))
        mixed = (heed / heed.sum(-1, keepdims=True)) @ value
        mixed = linear(f"{name}.attention.output.dense", mixed.transpose(1, 0, 2).reshape(len(ids), -1))
        state = norm(f"{name}.attention.output.LayerNorm", mixed + state)
        wide = linear(f"{name}.intermediate.dense", state)
        wide = wide * 0.5 * (1 + numpy.vectorize(math.erf)(wide / math.sqrt(2)))
        state = norm(f"{name}.output.LayerNorm", linear(f"{name}.output.dense", wide) + state)
    mean = state.mean(0)
    return mean / numpy.linalg.norm(mean)
