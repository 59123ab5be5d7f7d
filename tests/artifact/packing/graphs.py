"""Graphs that kdbench never writes, and those that it may be given none the less."""

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

FLOATS = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
OUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])


def model(*nodes: NodeProto, stored: tuple[str, ...] = (), **of_the_graph) -> ModelProto:
    """A model from x to y, which stores some vectors of three numbers."""
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]) for name in stored]
    graph = helper.make_graph(list(nodes), "g", [FLOATS], [OUT], tensors, **of_the_graph)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)


def branch(of: str) -> GraphProto:
    """A graph within a node, of one value from outside."""
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node("Neg", [of], ["inner"])], "branch", [], [inner])


node = helper.make_node
ODD = {
    "nothing": ModelProto(),
    "no nodes": model(),
    "a graph within a node": model(
        node("Abs", ["x"], ["v0"]),
        node("If", ["yes"], ["y"], then_branch=branch("v0"), else_branch=branch("x")),
        stored=("yes",),
    ),
    "an input that is left out": model(node("Clip", ["x", "", "most"], ["y"]), stored=("most",)),
    "an output that is left out": model(node("Dropout", ["x"], ["", "mask"]), node("Cast", ["mask"], ["y"], to=1)),
    "a tensor that two nodes share": model(
        node("Mul", ["x", "w"], ["a"]), node("Add", ["a", "w"], ["y"]), stored=("w",)
    ),
    "two outputs": model(node("Split", ["x"], ["v0", "v1"], axis=0, num_outputs=2), node("Add", ["v1", "v0"], ["y"])),
    "names of other positions": model(
        node("Abs", ["x"], ["v1"]), node("Neg", ["v1"], ["v0"]), node("Abs", ["v0"], ["y"])
    ),
    "a tensor with the name of a position": model(
        node("Mul", ["x", "v0"], ["a"]), node("Abs", ["a"], ["y"]), stored=("v0",)
    ),
    "tensors used backwards": model(node("Sum", ["x", "c", "b", "a"], ["y"]), stored=("a", "b", "c", "never")),
    "used before it is there": model(node("Abs", ["b"], ["y"]), node("Neg", ["x"], ["b"])),
    "made of itself": model(node("Add", ["x", "y"], ["y"])),
    "one name twice": model(node("Add", ["x", "a"], ["y"]), node("Abs", ["a"], ["y"]), stored=("a", "a", "x", "y")),
    "names with digits": model(
        node("Sum", ["x", "007", "a1b22", "9" * 30], ["y"]), stored=("007", "a1b22", "9" * 30, "a1b3")
    ),
    "names with marks": model(
        node("Sum", ["x", "a\0b", "a\n\nb", "é" * 9, " "], ["y"]), stored=("a\0b", "a\n\nb", "é" * 9, "")
    ),
    "notes on nodes": model(
        node("Abs", ["x"], ["y"], name="first", doc_string="", domain="of.mine"), doc_string="notes"
    ),
    "values with shapes": model(node("Abs", ["x"], ["a"]), node("Abs", ["a"], ["y"]), value_info=[FLOATS]),
}
