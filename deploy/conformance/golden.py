#!/usr/bin/env python3
"""Make the golden files of runtime/tests/golden: a tiny model for every operator and way of
writing it, an input, and what onnxruntime makes of it.

    pip install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
    deploy/conformance/golden.py [DIRECTORY]

CASE.onnx is the model, CASE.input.f32 its input and CASE.output0.f32 and so on its outputs, raw
little-endian float32. The files are the same whenever they are made by the versions above.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
CASES: dict[str, Callable[["Net"], None]] = {}


def case(function: Callable[["Net"], None]) -> Callable[["Net"], None]:
    CASES[function.__name__] = function
    return function


class Net:
    """A model in the making: nodes take and return names; "x" is the input."""

    def __init__(self, name: str) -> None:
        self.name, self.opset, self.ir, self.shape = name, 13, 8, [1, 4, 9, 7]
        self.rng = np.random.default_rng(len(name) * 1000 + sum(map(ord, name)))
        self.nodes, self.constants, self.outputs, self.metadata = [], [], [], {}
        self.listed: list[str] = []  # initializers that are listed as inputs too
        self.external = False

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def weight(self, *shape: int, dtype: type = np.float32) -> str:
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 4
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(fan_in), dtype)

    def conv(self, x: str, *shape: int, bias: bool = True, **attributes: object) -> str:
        inputs = [x, self.weight(*shape)] + ([self.weight(shape[0])] if bias else [])
        return self.node("Conv", *inputs, **attributes)

    def norm(self, x: str, channels: int, **attributes: object) -> str:
        positive = [self.constant(self.rng.uniform(0.5, 1.5, channels)) for _ in range(2)]
        scale, variance = positive
        return self.node("BatchNormalization", x, scale, self.weight(channels),
                         self.weight(channels), variance, **attributes)

    def model(self) -> onnx.ModelProto:
        outputs = self.outputs or [self.nodes[-1].output[0]]
        values = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
        inputs = [helper.make_tensor_value_info("x", FLOAT, self.shape)]
        inputs += [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                   for tensor in self.constants if tensor.name in self.listed]
        graph = helper.make_graph(self.nodes, self.name, inputs, values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)],
                                  ir_version=self.ir, producer_name="golden")
        helper.set_model_props(model, self.metadata)
        return model


# Convolutions

@case
def conv_pads(net: Net) -> None:
    net.conv("x", 5, 4, 3, 2, pads=[2, 0, 1, 1], strides=[2, 1], dilations=[1, 2])


@case
def conv_same_upper(net: Net) -> None:
    x = net.conv("x", 6, 4, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2])
    net.conv(x, 3, 6, 4, 2, auto_pad="SAME_UPPER", bias=False)


@case
def conv_same_lower(net: Net) -> None:
    x = net.conv("x", 6, 4, 3, 3, auto_pad="SAME_LOWER", strides=[2, 2])
    net.conv(x, 3, 6, 4, 2, auto_pad="SAME_LOWER", bias=False)


@case
def conv_valid(net: Net) -> None:
    net.conv("x", 2, 4, 3, 5, auto_pad="VALID", kernel_shape=[3, 5])


@case
def conv_groups(net: Net) -> None:
    net.conv("x", 6, 2, 3, 3, group=2, pads=[1, 1, 1, 1])


@case
def conv_depthwise(net: Net) -> None:
    x = net.conv("x", 4, 1, 5, 5, group=4, pads=[2, 2, 2, 2], strides=[2, 2])
    net.conv(x, 8, 1, 3, 3, group=4, pads=[1, 1, 1, 1])


@case
def conv_width_1(net: Net) -> None:
    net.shape = [1, 3, 8, 1]
    x = net.conv("x", 4, 3, 3, 3, pads=[1, 1, 1, 1])
    net.conv(x, 2, 4, 8, 1)


@case
def pad(net: Net) -> None:
    x = net.node("Pad", "x", net.ints(0, 0, 1, 0, 0, 0, 2, 3))
    net.conv(x, 3, 4, 3, 3, strides=[2, 2])


@case
def conv_transpose(net: Net) -> None:
    x = net.node("ConvTranspose", "x", net.weight(4, 5, 2, 2), net.weight(5), strides=[2, 2])
    x = net.norm(x, 5)
    net.node("ConvTranspose", net.node("Relu", x), net.weight(5, 1, 3, 3), strides=[3, 3])


# Factors, sums, activations

@case
def norm_folds(net: Net) -> None:
    x = net.node("Relu", net.norm(net.conv("x", 5, 4, 3, 3, bias=False), 5, epsilon=1e-3))
    net.norm(net.conv(x, 3, 5, 1, 1), 3)


@case
def norm_alone(net: Net) -> None:
    x = net.conv("x", 4, 4, 1, 1)
    y = net.norm(x, 4)  # x has another reader
    z = net.norm(net.node("MaxPool", "x", kernel_shape=[1, 1]), 4)
    net.outputs = [net.node("Sum", x, y, z)]


@case
def norm_of_vector(net: Net) -> None:
    net.shape, net.opset = [1, 6], 9
    x = net.node("Gemm", "x", net.weight(6, 5), net.weight(5))
    net.norm(x, 5)


@case
def relu_shared(net: Net) -> None:
    x = net.conv("x", 4, 4, 3, 3, pads=[1, 1, 1, 1])
    y = net.node("Add", net.node("Relu", x), "x")
    net.outputs = [net.node("Relu", y), x]


@case
def relu_behind_identity(net: Net) -> None:
    x = net.node("Identity", net.conv("x", 4, 4, 1, 1))
    net.outputs = [net.node("Relu", net.node("Identity", x)), net.node("Relu", x), x]


@case
def relu_of_input(net: Net) -> None:
    net.node("Relu", "x")


@case
def clip_attributes(net: Net) -> None:
    net.opset = 10
    x = net.node("Clip", net.conv("x", 4, 4, 1, 1), min=0.0, max=0.5)
    net.node("Clip", x, max=0.25)


@case
def clip_inputs(net: Net) -> None:
    x = net.node("Clip", net.conv("x", 4, 4, 1, 1), net.constant(-0.5), net.constant(0.5))
    x = net.node("Clip", net.node("Add", x, "x"), "", net.constant(1.0))
    net.node("Clip", x, net.constant(0.0))


@case
def clip_crossed(net: Net) -> None:
    net.node("Clip", "x", net.constant(0.5), net.constant(-0.5))


@case
def add_constants(net: Net) -> None:
    x = net.node("Add", net.conv("x", 4, 4, 1, 1, bias=False), net.weight(4, 1, 1))
    x = net.node("Add", net.constant(0.25), x)
    net.node("Sum", x, net.weight(1, 4, 1, 1), "x")


@case
def sum_of_three(net: Net) -> None:
    x = net.conv("x", 4, 4, 1, 1)
    net.node("Relu", net.node("Sum", "x", x, x))


@case
def activations(net: Net) -> None:
    x = net.node("LeakyRelu", net.conv("x", 6, 4, 3, 3), alpha=0.1)
    x = net.node("HardSigmoid", net.conv(x, 5, 6, 1, 1), alpha=0.3, beta=0.4)
    x = net.node("Sigmoid", net.conv(x, 4, 5, 1, 1))
    net.node("LeakyRelu", net.node("Sigmoid", x))


@case
def prelu(net: Net) -> None:
    x = net.node("PRelu", net.conv("x", 5, 4, 3, 3), net.weight(5, 1, 1))
    net.node("PRelu", net.conv(x, 4, 5, 1, 1), net.constant([0.3]))


@case
def hard_swish(net: Net) -> None:
    net.opset = 14
    net.node("HardSwish", net.conv("x", 6, 4, 3, 3))


@case
def gates(net: Net) -> None:
    x = net.conv("x", 4, 4, 3, 3, pads=[1, 1, 1, 1])
    x = net.node("Mul", x, net.node("Sigmoid", x))
    x = net.conv(x, 4, 4, 1, 1)
    x = net.node("Mul", net.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), x)
    y = net.conv(x, 4, 4, 1, 1)
    shared = net.node("Sigmoid", y)
    net.outputs = [net.node("Mul", y, shared), shared]


@case
def squeeze_and_excite(net: Net) -> None:
    net.shape = [1, 20, 9, 7]
    y = net.node("GlobalAveragePool", "x")
    y = net.node("HardSigmoid", net.conv(net.node("Relu", net.conv(y, 5, 20, 1, 1)), 20, 5, 1, 1))
    y = net.node("Mul", "x", y)
    net.conv(net.node("Add", y, "x"), 4, 20, 3, 3)


@case
def arithmetic(net: Net) -> None:
    x = net.node("Mul", net.conv("x", 4, 4, 1, 1), net.weight(4, 1, 1))
    x = net.node("Sub", net.node("Div", x, net.constant(3.0)), net.weight(1, 4, 1, 1))
    x = net.node("Sub", net.constant(0.5), x)
    net.node("Mul", net.node("Sub", x, "x"), "x")


@case
def lrn(net: Net) -> None:
    net.shape = [1, 20, 5, 6]
    x = net.node("LRN", "x", size=5, alpha=0.3, beta=0.75, bias=2.0)
    net.node("LRN", x, size=3, alpha=0.1, beta=0.6)


@case
def concat(net: Net) -> None:
    x = net.conv("x", 3, 4, 3, 3, pads=[1, 1, 1, 1])
    y = net.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    net.node("Relu", net.node("Concat", x, "x", y, axis=1))


# Moved elements

@case
def resize(net: Net) -> None:
    x = net.node("Resize", "x", "", net.constant([1, 1, 2, 3]), mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    x = net.conv(x, 3, 4, 3, 3)
    x = net.node("Resize", x, "", "", net.ints(1, 3, 32, 38), mode="nearest")
    net.node("Resize", x, "", net.constant([1, 1, 0.5, 0.5]), mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@case
def upsample_9(net: Net) -> None:
    net.opset = 9
    net.node("Upsample", "x", net.constant([1, 1, 2, 2]), mode="nearest")


@case
def resize_of_shape(net: Net) -> None:
    size = net.node("Slice", net.node("Shape", "x"), net.ints(2), net.ints(4), net.ints(0))
    size = net.node("Mul", size, net.ints(2, 2))
    size = net.node("Concat", net.ints(1, 4), size, axis=0)
    net.node("Resize", "x", "", "", size, mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@case
def slices(net: Net) -> None:
    net.shape = [1, 3, 10, 12]
    parts = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        part = net.node("Slice", "x", net.ints(row), net.ints(2**62), net.ints(2), net.ints(2))
        parts.append(net.node("Slice", part, net.ints(column), net.ints(2**62), net.ints(3),
                              net.ints(2)))
    x = net.conv(net.node("Concat", *parts, axis=1), 20, 12, 3, 3, pads=[1, 1, 1, 1])
    net.node("Slice", x, net.ints(3, -4), net.ints(19, -1), net.ints(1, 2))


@case
def slice_9(net: Net) -> None:
    net.opset = 9
    net.node("Slice", "x", starts=[1, 2], ends=[3, 9], axes=[1, 2])


@case
def split(net: Net) -> None:
    x = net.conv("x", 40, 4, 1, 1)
    net.node("Split", x, net.ints(8, 32), outputs=2, axis=1)
    first, second = net.nodes[-1].output
    net.node("Split", "x", outputs=2, axis=1)
    _, last = net.nodes[-1].output
    net.outputs = [net.conv(second, 4, 32, 3, 3), net.node("Relu", first), last]


@case
def channel_shuffle(net: Net) -> None:
    net.shape = [1, 20, 6, 5]
    x = net.node("Reshape", "x", net.ints(1, 4, 5, 6, 5))
    x = net.node("Transpose", x, perm=[0, 2, 1, 3, 4])
    net.conv(net.node("Reshape", x, net.ints(1, 20, 6, 5)), 6, 20, 3, 3)


@case
def detection_head(net: Net) -> None:
    net.shape = [1, 3, 12, 12]
    fine = net.conv("x", 6, 3, 3, 3, pads=[1, 1, 1, 1])
    coarse = net.conv("x", 6, 3, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2])
    parts = [net.node("Reshape", part, net.ints(1, 6, -1)) for part in (fine, coarse)]
    x = net.node("Concat", *parts, axis=2)
    net.outputs = [net.node("Transpose", x, perm=[0, 2, 1]), x]


@case
def anchor_head(net: Net) -> None:
    net.shape = [1, 3, 5, 4]
    heads = []
    for stride in (1, 2):
        x = net.conv("x", 14, 3, 3, 3, pads=[1, 1, 1, 1], strides=[stride] * 2)
        x = net.node("Reshape", x, net.ints(1, 2, 7, -1))
        x = net.node("Sigmoid", net.node("Transpose", x, perm=[0, 1, 3, 2]))
        heads.append(net.node("Reshape", x, net.ints(1, -1, 7)))
    net.node("Concat", *heads, axis=1)


@case
def transposed_picture(net: Net) -> None:
    net.shape = [1, 6, 5, 3]
    x = net.conv(net.node("Transpose", "x", perm=[0, 3, 1, 2]), 4, 3, 3, 3)
    weight = net.node("Transpose", net.weight(3, 3, 4, 2), perm=[3, 2, 0, 1])
    net.node("Transpose", net.node("Conv", x, weight), perm=[0, 2, 3, 1])


@case
def depth_to_space(net: Net) -> None:
    net.shape = [1, 40, 4, 3]
    x = net.node("DepthToSpace", "x", blocksize=2)
    net.outputs = [x, net.node("DepthToSpace", "x", blocksize=2, mode="CRD")]


# Pools and means

@case
def max_pool(net: Net) -> None:
    x = net.node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])
    net.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER")


@case
def max_pool_ceil(net: Net) -> None:
    x = net.node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


@case
def max_pool_dilated(net: Net) -> None:
    net.node("MaxPool", "x", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1])


@case
def average_pool(net: Net) -> None:
    x = net.node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1])
    net.node("AveragePool", x, kernel_shape=[2, 2], auto_pad="SAME_LOWER")


@case
def average_pool_padded(net: Net) -> None:
    net.node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 1],
             count_include_pad=1)


@case
def average_pool_ceil(net: Net) -> None:
    net.opset = 19
    net.node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


@case
def global_average(net: Net) -> None:
    x = net.node("GlobalAveragePool", net.conv("x", 6, 4, 3, 3))
    x = net.conv(x, 3, 6, 1, 1)
    net.node("Gemm", net.node("Flatten", x), net.weight(5, 3), net.weight(5), transB=1)


@case
def global_max(net: Net) -> None:
    net.node("GlobalMaxPool", net.conv("x", 6, 4, 3, 3))


@case
def reduce_mean(net: Net) -> None:
    net.outputs = [net.node("ReduceMean", "x", axes=[-1, 2], keepdims=0),
                   net.node("ReduceMean", "x", axes=[2, 3])]


@case
def reduce_mean_18(net: Net) -> None:
    net.opset = 18
    net.node("ReduceMean", "x", net.ints(2, 3), keepdims=0)


# Heads

@case
def gemm(net: Net) -> None:
    net.shape = [1, 2, 5, 3]
    x = net.node("Gemm", net.node("Flatten", "x"), net.weight(30, 8), net.weight(1, 8),
                 alpha=0.5, beta=2.0)
    x = net.node("Gemm", net.node("Relu", x), net.weight(6, 8), net.constant([0.5]), transB=1)
    net.node("Gemm", x, net.weight(6, 1), transB=0)


@case
def matmul(net: Net) -> None:
    net.shape = [1, 2, 5, 3]
    x = net.node("Reshape", "x", net.ints(0, -1))
    x = net.node("Relu", net.node("Add", net.node("MatMul", x, net.weight(30, 7)), net.weight(7)))
    net.node("MatMul", x, net.weight(7, 40))


@case
def softmax(net: Net) -> None:
    x = net.node("Flatten", net.conv("x", 12, 4, 9, 7))
    net.outputs = [x, net.node("Softmax", x, axis=1)]


@case
def softmax_11(net: Net) -> None:
    net.opset = 11
    net.node("Softmax", net.conv("x", 12, 4, 9, 7))


@case
def views(net: Net) -> None:
    x = net.node("GlobalAveragePool", "x")
    x = net.node("Squeeze", x, net.ints(2, -1))
    x = net.node("Unsqueeze", x, net.ints(2, 3))
    x = net.node("Reshape", net.conv(x, 6, 4, 1, 1), net.ints(-1, 6))
    y = net.node("Flatten", "x", axis=-3)
    net.outputs = [net.node("Gemm", x, net.weight(6, 3)), net.node("Add", y, y)]


@case
def shape_subgraph(net: Net) -> None:
    batch = net.node("Gather", net.node("Shape", "x"), net.constant(0, np.int64), axis=0)
    batch = net.node("Unsqueeze", batch, net.ints(0))
    target = net.node("Concat", batch, net.ints(-1), axis=0)
    x = net.node("Reshape", net.node("MaxPool", "x", kernel_shape=[3, 3]), target)
    filled = net.node("ConstantOfShape", net.ints(3, 140),
                      value=helper.make_tensor("value", FLOAT, [1], [0.125]))
    net.node("Gemm", x, filled, transB=1)


@case
def no_ops(net: Net) -> None:
    x = net.node("Dropout", net.conv("x", 4, 4, 1, 1), outputs=2)
    constant = net.node("Constant", value_floats=[0.5, 1.0, 1.5, 2.0])
    constant = net.node("Reshape", constant, net.ints(1, 4, 1, 1))
    x = net.node("Cast", net.node("Add", x, constant), to=FLOAT)
    weight = helper.make_tensor("value", FLOAT, [2, 4, 1, 1], [0.5 * i for i in range(8)])
    net.node("Conv", net.node("Identity", x), net.node("Constant", value=weight))
    net.node("Exp", "x")  # contributes to no output
    net.outputs = [net.nodes[-2].output[0]]


# Tensors of any rank

@case
def attention(net: Net) -> None:
    net.opset = 17
    x = net.conv("x", 8, 4, 3, 3, strides=[3, 3])
    x = net.node("Transpose", net.node("Reshape", x, net.ints(1, 8, -1)), perm=[0, 2, 1])
    y = net.node("LayerNormalization", x, net.weight(8), net.weight(8))
    parts = []
    for _ in range(3):
        part = net.node("Add", net.node("MatMul", y, net.weight(8, 8)), net.weight(8))
        part = net.node("Reshape", part, net.ints(0, -1, 2, 4))
        parts.append(net.node("Transpose", part, perm=[0, 2, 1, 3]))
    query, key, values = parts
    scores = net.node("MatMul", query, net.node("Transpose", key, perm=[0, 1, 3, 2]))
    scores = net.node("Softmax", net.node("Mul", scores, net.constant(0.5)), axis=-1)
    y = net.node("Transpose", net.node("MatMul", scores, values), perm=[0, 2, 1, 3])
    x = net.node("Add", x, net.node("Reshape", y, net.ints(0, -1, 8)))
    half = net.node("Mul", x, net.constant(0.5))
    gelu = net.node("Div", x, net.constant(np.sqrt(2)))
    gelu = net.node("Add", net.node("Erf", gelu), net.constant(1))
    x = net.node("Mul", half, gelu)
    net.node("ReduceMean", x, axes=[1], keepdims=0)


@case
def box_head(net: Net) -> None:
    x = net.conv("x", 6, 4, 1, 1)
    x = net.node("Transpose", net.node("Reshape", x, net.ints(1, 6, -1)), perm=[0, 2, 1])
    rows = net.node("Range", net.constant(0, np.int64), net.constant(9, np.int64),
                    net.constant(1, np.int64))
    rows = net.node("Reshape", rows, net.ints(9, 1))
    rows = net.node("Cast", net.node("Expand", rows, net.ints(9, 7)), to=FLOAT)
    columns = net.node("Cast", net.node("Tile", net.ints(*range(7)), net.ints(9)), to=FLOAT)
    grid = [net.node("Reshape", part, net.ints(1, 63, 1)) for part in (columns, rows)]
    grid = net.node("Concat", *grid, axis=-1)
    xy = net.node("Slice", x, net.ints(0), net.ints(2), net.ints(2))
    size = net.node("Slice", x, net.ints(2), net.ints(4), net.ints(-1))
    rest = net.node("Slice", x, net.ints(-1), net.ints(-3), net.ints(2), net.ints(-1))
    xy = net.node("Mul", net.node("Add", xy, grid), net.constant([8.0, 16.0]))
    size = net.node("Exp", size)
    net.node("Concat", xy, size, net.node("Sigmoid", rest), axis=2)


@case
def reductions(net: Net) -> None:
    x = net.node("Abs", "x")
    parts = [net.node(f"Reduce{name}", x, axes=[1, 3])
             for name in ("Max", "Min", "L1", "L2", "LogSumExp", "SumSquare", "Prod", "Mean")]
    parts.append(net.node("ReduceSum", x, net.ints(1, 3)))
    parts.append(net.node("Cast", net.node("ArgMax", net.node("ReduceMax", x, axes=[1]), axis=3),
                          to=FLOAT))
    net.node("Concat", *parts, axis=3)


@case
def indices(net: Net) -> None:
    x = net.node("Reshape", "x", net.ints(36, 7))
    y = net.node("Gather", x, net.constant([[3, -1], [0, 3]], np.int64), axis=1)
    z = net.node("GatherElements", x, net.constant(net.rng.integers(0, 36, (5, 7)), np.int64))
    w = net.node("GatherND", x, net.constant([[1, 2], [35, -7]], np.int64))
    u = net.node("ScatterND", x, net.constant([[4], [2]], np.int64), net.weight(2, 7))
    v = net.node("ScatterElements", x, net.constant([[4, 2]], np.int64), net.weight(1, 2), axis=1)
    top = net.node("TopK", x, net.ints(3), outputs=2, axis=1)
    hot = net.node("ArgMax", x, axis=1, keepdims=0)
    hot = net.node("OneHot", hot, net.constant(7, np.int64), net.constant([-1.0, 2.0]), axis=0)
    total = net.node("CumSum", x, net.constant(0, np.int64), reverse=1)
    triangle = net.node("Trilu", net.node("MatMul", x, net.weight(7, 36)), upper=0)
    net.outputs = [y, z, w, u, v, top, hot, total, triangle]
    net.opset = 16


@case
def comparisons(net: Net) -> None:
    zero = net.constant(0)
    above = net.node("Greater", "x", zero)
    small = net.node("LessOrEqual", net.node("Abs", "x"), net.constant(1))
    either = net.node("Xor", above, net.node("Not", small))
    x = net.node("Where", either, net.node("Max", "x", net.constant(0.25)), net.node("Neg", "x"))
    net.node("Pow", net.node("Min", x, net.weight(7)), net.constant(2))
    net.opset = 16


@case
def curves(net: Net) -> None:
    net.opset = 18
    x = net.conv("x", 4, 4, 1, 1)
    for name in ("Tanh", "Softplus", "Elu", "Selu", "Celu", "Softsign", "Mish", "ThresholdedRelu"):
        x = net.node("Add", net.node(name, net.conv(x, 4, 4, 1, 1)), "x")
    net.node("Sqrt", net.node("Log", net.node("Exp", net.node("Abs", x))))


@case
def normalisations(net: Net) -> None:
    x = net.conv("x", 8, 4, 3, 3, pads=[1, 1, 1, 1])
    x = net.node("InstanceNormalization", x, net.weight(8), net.weight(8))
    x = net.node("Reshape", x, net.ints(0, 2, -1))
    x = net.node("InstanceNormalization", x, net.constant([1, 1]), net.constant([0, 0]))
    x = net.node("Mul", net.node("Reshape", x, net.ints(1, 8, 9, 7)), net.weight(8, 1, 1))
    x = net.node("LpNormalization", x, axis=1, p=2)
    net.node("LogSoftmax", x, axis=1)


@case
def resize_linear(net: Net) -> None:
    x = net.node("Resize", "x", "", net.constant([1, 1, 2, 1.5]), mode="linear")
    x = net.node("Resize", x, "", "", net.ints(1, 4, 11, 13), mode="linear",
                 coordinate_transformation_mode="align_corners")
    net.node("Resize", x, "", net.constant([1, 1, 1.7, 0.6]), mode="cubic",
             coordinate_transformation_mode="asymmetric")


@case
def grid_sample(net: Net) -> None:
    net.opset = 16
    grid = net.constant(net.rng.uniform(-1.2, 1.2, (1, 5, 6, 2)))
    x = net.node("GridSample", "x", grid)
    net.node("GridSample", x, grid, mode="bicubic", padding_mode="border", align_corners=1)


@case
def conv_transpose_overlapping(net: Net) -> None:
    x = net.node("ConvTranspose", "x", net.weight(4, 3, 4, 4), net.weight(6), strides=[2, 2],
                 pads=[1, 1, 1, 1], group=2)
    net.node("ConvTranspose", x, net.weight(6, 2, 3, 3), strides=[2, 3], output_padding=[1, 0],
             dilations=[2, 1], pads=[0, 2, 1, 0])


@case
def conv_transpose_phases(net: Net) -> None:
    """Kernels that their strides do not divide, padding, and a result that is longer."""
    x = net.node("ConvTranspose", "x", net.weight(4, 3, 4, 4), net.weight(6), strides=[2, 2],
                 pads=[1, 1, 1, 1], group=2)
    x = net.node("ConvTranspose", net.node("Relu", x), net.weight(6, 5, 3, 2), strides=[2, 2],
                 output_padding=[1, 1], pads=[1, 0, 1, 1])
    x = net.node("ConvTranspose", x, net.weight(5, 2, 3, 3), net.weight(2), pads=[1, 1, 0, 2])
    net.node("ConvTranspose", x, net.weight(2, 3, 4, 5), strides=[3, 3], auto_pad="SAME_LOWER")


@case
def volumes(net: Net) -> None:
    x = net.node("Reshape", "x", net.ints(1, 2, 2, 9, 7))
    x = net.conv(x, 4, 2, 2, 3, 3, pads=[1, 1, 0, 1, 1, 2])
    x = net.node("MaxPool", x, kernel_shape=[2, 2, 2], strides=[1, 2, 2], ceil_mode=1)
    net.node("AveragePool", x, kernel_shape=[1, 2, 2], pads=[0, 1, 0, 0, 0, 1])


@case
def sequences(net: Net) -> None:
    x = net.node("Transpose", net.node("Reshape", "x", net.ints(1, 28, 9)), perm=[2, 0, 1])
    names = [net.weight(2, 20, 28), net.weight(2, 20, 5), net.weight(2, 40)]
    x = net.node("LSTM", x, *names, hidden_size=5, direction="bidirectional")
    x = net.node("Reshape", net.node("Transpose", x, perm=[0, 2, 1, 3]), net.ints(0, 0, -1))
    names = [net.weight(1, 12, 10), net.weight(1, 12, 4), net.weight(1, 24)]
    net.node("GRU", x, *names, hidden_size=4, linear_before_reset=1, direction="reverse")


@case
def sums_of_products(net: Net) -> None:
    x = net.node("Einsum", "x", net.weight(7, 5), equation="bchw,wk->bkhc")
    net.node("Einsum", x, x, equation="...hc,...hd->...cd")


@case
def quantised(net: Net) -> None:
    scale, zero = net.constant(0.05), net.constant(120, np.uint8)
    x = net.node("DequantizeLinear", net.node("QuantizeLinear", "x", scale, zero), scale, zero)
    weights = net.constant(net.rng.integers(-128, 128, (6, 4, 3, 3)), np.int8)
    weights = net.node("DequantizeLinear", weights, net.constant(net.rng.uniform(0, 0.01, 6)),
                       net.constant([0] * 6, np.int8), axis=0)
    x = net.node("Relu", net.node("Conv", x, weights, net.weight(6)))
    net.node("DequantizeLinear", net.node("QuantizeLinear", x, scale, zero), scale, zero)


@case
def batches(net: Net) -> None:
    net.shape = [3, 4, 9, 7]
    x = net.norm(net.conv("x", 6, 4, 3, 3, pads=[1, 1, 1, 1]), 6)
    x = net.node("MaxPool", net.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.node("Softmax", net.node("Gemm", x, net.weight(6, 5), net.weight(5)), axis=1)


@case
def whole_constants(net: Net) -> None:
    x = net.node("Add", "x", net.weight(1, 4, 9, 7))
    x = net.node("Concat", x, net.weight(1, 2, 9, 7), axis=1)
    net.outputs = [net.node("Identity", net.weight(2, 3)), net.node("Pad", x, net.ints(
        0, 1, 2, 0, 0, 0, 1, 3), mode="reflect")]


# Ways of storing weights

@case
def half(net: Net) -> None:
    weight = net.node("Cast", net.weight(6, 4, 3, 3, dtype=np.float16), to=FLOAT)
    x = net.norm(net.node("Conv", "x", weight), 6)
    values = net.rng.standard_normal((3, 6)).astype(np.float16)
    packed = helper.make_tensor("packed", TensorProto.FLOAT16, [3, 6], values.flatten())
    assert packed.int32_data
    net.constants.append(packed)
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.node("Gemm", x, net.node("Cast", "packed", to=FLOAT), transB=1)


@case
def packed_floats(net: Net) -> None:
    net.node("Conv", "x", net.weight(12, 4, 3, 3), net.weight(12))
    for tensor in net.constants:  # one long enough to stay in the file
        tensor.float_data.extend(numpy_helper.to_array(tensor).flatten())
        tensor.ClearField("raw_data")


@case
def external(net: Net) -> None:
    net.conv("x", 12, 4, 3, 3)
    net.external = True


@case
def old_file(net: Net) -> None:
    net.ir, net.opset, net.shape = 3, 7, ["batch", 4, 9, 7]
    x = net.norm(net.conv("x", 5, 4, 3, 3), 5)
    x = net.node("Reshape", x, net.ints(1, -1))
    net.node("Gemm", x, net.weight(3, 175), net.weight(3), transB=1)
    net.listed = [tensor.name for tensor in net.constants]
    net.metadata = {"edgeld.preset": "lite"}


@case
def rows_of_features(net: Net) -> None:
    """A transformer's feed-forward layer, and a product over steps of a sequence."""
    x = net.node("Reshape", "x", net.ints(1, 36, 7))
    y = net.node("Add", net.node("MatMul", x, net.weight(7, 20)), net.weight(20))
    y = net.node("Mul", y, net.node("Sigmoid", y))
    y = net.node("Add", net.node("MatMul", y, net.weight(20, 7)), net.weight(7))
    x = net.node("Add", x, y)
    steps = net.node("Transpose", x, perm=[1, 0, 2])
    steps = net.node("Add", net.node("MatMul", steps, net.weight(7, 5)), net.weight(5))
    net.outputs = [x, net.node("Softmax", steps, axis=2), net.node("ReduceMean", steps, axes=[0])]


@case
def constants_meet(net: Net) -> None:
    """Constants that are repeated along each other's axes, and integers that stay whole."""
    grid = net.node("Add", net.weight(9, 1), net.weight(1, 7))
    x = net.node("Mul", net.node("Mul", net.constant([[[2]]]), net.constant([1, 2, 3, 4, 5, 6, 7])),
                 net.node("Add", "x", grid))
    best = net.node("ArgMax", x, axis=3)
    third = net.node("Div", best, net.ints(3))
    rest = net.node("Sub", best, net.node("Mul", third, net.ints(3)))
    whole = net.node("Cast", net.node("Mul", x, net.constant(100)), to=TensorProto.INT64)
    mean = net.node("ReduceMean", whole, axes=[2, 3])
    net.outputs = [net.node("Cast", y, to=FLOAT) for y in (third, rest, mean)]


@case
def pool_indices(net: Net) -> None:
    largest = net.node("MaxPool", "x", outputs=2, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    net.outputs = [largest, net.node("Cast", f"{largest}_1", to=FLOAT)]


@case
def branches(net: Net) -> None:
    """Both hold a constant of the same name."""
    def branch(value: float) -> onnx.GraphProto:
        node = helper.make_node("Mul", ["x", "k"], ["y"])
        constant = numpy_helper.from_array(np.asarray(value, np.float32), "k")
        result = helper.make_tensor_value_info("y", FLOAT, None)
        return helper.make_graph([node], "branch", [], [result], [constant])
    truth = net.constant(False, np.bool_)
    x = net.node("If", truth, then_branch=branch(2), else_branch=branch(3))
    net.node("Relu", x)


@case
def channels_last(net: Net) -> None:
    """As TensorFlow has them: transposes around every convolution, all else in between."""
    net.shape = [1, 9, 7, 4]
    first, last = [0, 3, 1, 2], [0, 2, 3, 1]
    x = net.node("Transpose", "x", perm=first)
    x = net.node("Transpose", net.conv(x, 6, 4, 3, 3, pads=[1] * 4), perm=last)
    x = net.node("Relu", net.node("Add", x, net.weight(6)))
    y = net.node("Transpose", net.node("Clip", x, net.constant(0.1), net.constant(2)), perm=first)
    y = net.node("Transpose", net.conv(y, 6, 6, 1, 1), perm=last)
    x = net.node("Concat", net.node("Mul", x, net.weight(9, 1, 1)), y, axis=-1)
    x = net.node("Add", x, net.node("Sigmoid", x))
    net.outputs.append(net.node("ReduceMean", x, axes=[1, 2]))
    x = net.node("PRelu", x, net.weight(1, 1, 12))
    net.outputs.append(net.node("Transpose", x, perm=[0, 2, 1, 3]))


@case
def detector(net: Net) -> None:
    """As Ultralytics exports YOLOv8: a column of centre, size and scores for every box. Whatever
    the picture, two boxes overlap, and a third is of another class."""
    net.shape = [1, 3, 32, 64]
    zero = net.node("Mul", net.node("GlobalAveragePool", "x"), net.constant(0.0))
    zero = net.node("Reshape", zero, net.ints(1, 3, 1))
    zero = net.node("ReduceSum", zero, net.ints(1))
    boxes = np.zeros((1, 6, 42))
    boxes[0, :, 5] = [32, 16, 16, 8, 0.9, 0.1]
    boxes[0, :, 6] = [33, 16, 16, 8, 0.7, 0.1]
    boxes[0, :, 30] = [8, 8, 8, 8, 0.0, 0.6]
    net.node("Add", net.constant(boxes), zero)
    net.metadata = {"author": "Ultralytics", "task": "detect", "names": "{0: 'cup', 1: 'spoon'}"}


def write(folder: Path, name: str, build: Callable[[Net], None]) -> None:
    net = Net(name)
    build(net)
    model, path = net.model(), folder / f"{name}.onnx"
    if net.external:
        onnx.save(model, path, save_as_external_data=True, location=f"{name}.weights",
                  size_threshold=0, convert_attribute=False)
    else:
        onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shape: Sequence[int] = [dim if isinstance(dim, int) else 1 for dim in net.shape]
    x = net.rng.standard_normal(shape).astype(np.float32)
    x.tofile(folder / f"{name}.input.f32")
    for index, output in enumerate(session.run(None, {"x": x})):
        assert output.dtype == np.float32 and np.isfinite(output).all(), name
        output.tofile(folder / f"{name}.output{index}.f32")


def main() -> None:
    here = Path(__file__).resolve()
    folder = Path(sys.argv[1]) if sys.argv[1:] else here.parents[2] / "runtime/tests/golden"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, build in CASES.items():
        write(folder, name, build)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{len(CASES)} cases, {size / 1000:.0f} kB in {folder}")


if __name__ == "__main__":
    main()
