"""The input and the output of the graph of another tool, made those of kdbench's own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from kdbench.errors import DamagedFile
from kdbench.models.onnx_graph import INPUT, OUTPUT


def only_input(graph: onnx.GraphProto) -> ValueInfoProto:
    """Return the one input of a graph that is no stored tensor, which must take float32 numbers."""
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise DamagedFile(f"it has {len(inputs)} inputs ({', '.join(v.name for v in inputs)}): images are one")
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        name = TensorProto.DataType.Name(kind).lower()
        raise DamagedFile(f"its input {inputs[0].name} is {name}: kdbench gives float32 images")
    return inputs[0]


def image_shape(file: ModelProto) -> tuple[int, int, int] | None:
    """Return channels, height and width that `file` takes, or None if they are not square images of a fixed size.

    Raises `DamagedFile` if it does not have one input.
    """
    sizes = [dimension.dim_value for dimension in only_input(file.graph).type.tensor_type.shape.dim][1:]
    if len(sizes) == 3 and sizes[2] in (1, 3) and sizes[0] not in (1, 3):
        sizes = [sizes[2], *sizes[:2]]
    if len(sizes) != 3 or sizes[0] not in (1, 3) or sizes[1] != sizes[2] or not sizes[1]:
        return None
    return sizes[0], sizes[1], sizes[2]


def adapt_images(graph: onnx.GraphProto, given: ValueInfoProto, shape: tuple[int, int, int]) -> None:
    """Put in front of the graph what makes of (batch, channels, height, width) what it takes."""
    sizes = [dimension.dim_value for dimension in given.type.tensor_type.shape.dim][1:]  # 0: free
    channels, height, width = shape
    front: NodeProto | None = None
    if channels > 1 and (len(sizes) == 1 or not any(sizes)):
        raise DamagedFile(
            f"its input, {in_words(sizes)}, leaves open where the {channels} channels are: export it with the "
            "sizes of its images"
        )
    if fits(sizes, shape):
        rename(graph, given.name, INPUT)
    elif fits(sizes, (height, width, channels)):
        front = helper.make_node("Transpose", [INPUT], [given.name], perm=[0, 2, 3, 1])
    elif fits(sizes, (channels * height * width,)):
        front = helper.make_node("Flatten", [INPUT], [given.name], axis=1)
    else:
        raise DamagedFile(f"it takes images of {in_words(sizes)}, these are {in_words(shape)}{advice(sizes, shape)}")
    if front is not None:
        graph.node.insert(0, front)
    stored = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name in stored]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *shape]))
    graph.input.extend(kept)


def adapt_logits(graph: onnx.GraphProto, classes: int) -> None:
    """Make the one output the logits of so many classes: what goes into a last softmax, if there is one."""
    if len(graph.output) != 1:
        names = ", ".join(value.name for value in graph.output)
        raise DamagedFile(f"it has {len(graph.output)} outputs ({names}): export the one of the logits alone")
    end = graph.output[0].name
    makers = {name: node for node in graph.node for name in node.output}
    readers = {name for node in graph.node for name in node.input}
    softmax_is_out = False
    while end in makers and is_end(makers[end]) and end not in readers:
        last = makers[end]
        if last.op_type == "Softmax":
            if softmax_is_out:
                break  # of two only the last turns logits into probabilities
            softmax_is_out = True
        graph.node.remove(last)
        end = last.input[0]
        readers = {name for node in graph.node for name in node.input}
    if end not in makers:
        raise DamagedFile("its output is not computed from its input")
    rename(graph, end, OUTPUT)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes]))


def is_end(node: NodeProto) -> bool:
    """Whether a node leaves the order of the classes as it is, and may be left out at the end."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    return node.op_type == "Identity" or (node.op_type == "Softmax" and axis in (-1, 1))


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give the result `old` the name `new`; another result of that name gets another."""
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {tensor.name for tensor in graph.initializer}
    if new in names and old != new:
        free = next(name for number in range(len(names) + 1) if (name := f"{new}_{number}") not in names)
        swap(graph, {new: free})
    swap(graph, {old: new})


def swap(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename results throughout the graph."""
    for node in graph.node:
        for place in (node.input, node.output):
            place[:] = [names.get(name, name) for name in place]
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.name = names.get(value.name, value.name)


def fits(sizes: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether an input whose free sizes are 0 takes images of the sizes `wanted`."""
    return len(sizes) == len(wanted) and all(size in (0, want) for size, want in zip(sizes, wanted, strict=True))


def in_words(sizes: Sequence[int]) -> str:
    """Return sizes as a person writes them: `3x64x64`, with ? for what is free."""
    return "x".join(str(size) if size else "?" for size in sizes) or "no size"


def advice(sizes: Sequence[int], shape: Sequence[int]) -> str:
    """Return what to type for images of `sizes`, if they are images."""
    if len(sizes) != 3 or 0 in sizes or sizes[1] != sizes[2] or sizes[0] not in (1, 3):
        return ""
    knobs = [f"data.size={sizes[1]}"] * (tuple(sizes[1:]) != tuple(shape[1:]))
    knobs += [f"data.channels={sizes[0]} data.convert_channels=true"] * (sizes[0] != shape[0])
    return f": with data=image_folder, type {' '.join(knobs)}"
