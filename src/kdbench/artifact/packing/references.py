"""What feeds what: names of inputs and outputs of nodes as distances, so that repeated layers repeat literally.

Of each node the counts of its inputs and outputs stand there, then one number for each. Inputs of the graph, and
inputs and outputs of nodes, take one place after the other. An input is

- 0: the next name of a list;
- 2d: what stands d places back;
- 2s + 1: a stored tensor that was not used before, s (`with_sign`) after the one that follows the last such.

An output is 0, named by its position, or 1, the next name of the list.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto

from kdbench.artifact.packing.whole_numbers import Cursor, as_bytes, with_sign, without_sign
from kdbench.errors import DamagedFile

LISTED_INPUT = 0
BY_POSITION, LISTED_OUTPUT = 0, 1


def positional(number: int) -> str:
    """Return the name of an output by its number, from 0 on over all nodes."""
    return f"v{number}"


def written(graph: GraphProto) -> tuple[list[str], bytes]:
    """Return the list of names, and the numbers as bytes."""
    unused = {tensor.name: index for index, tensor in enumerate(graph.initializer)}
    place = {value.name: index for index, value in enumerate(graph.input)}
    at, following, output = len(graph.input), 0, 0
    listed, numbers = [], bytearray()
    for node in graph.node:
        numbers += as_bytes(len(node.input)) + as_bytes(len(node.output))
        for name in node.input:
            if name in place:
                number = 2 * (at - place[name])
            elif name in unused:
                number = 2 * with_sign(unused[name] - following) + 1
                following = unused[name] + 1
            else:
                number = LISTED_INPUT
                listed.append(name)
            numbers += as_bytes(number)
            place[name] = at
            at += 1
        for name in node.output:
            number = BY_POSITION if name == positional(output) else LISTED_OUTPUT
            if number == LISTED_OUTPUT:
                listed.append(name)
            numbers += as_bytes(number)
            place[name] = at
            at, output = at + 1, output + 1
    return listed, bytes(numbers)


def read(graph: GraphProto, listed: Iterable[str], cursor: Cursor, most: int) -> None:
    """Give nodes their inputs and outputs. Raises `DamagedFile`, also if their names take more than `most` bytes."""
    places = [value.name for value in graph.input]
    names, stored = iter(listed), [tensor.name for tensor in graph.initializer]
    following, output = 0, 0
    for node in graph.node:
        inputs, outputs = cursor.number(), cursor.number()
        for _ in range(inputs):
            number = cursor.number()
            if number == LISTED_INPUT:
                name = next(names, None)
            elif number % 2:
                following += without_sign(number // 2) + 1
                name = stored[following - 1] if 0 < following <= len(stored) else None
            else:
                name = places[-(number // 2)] if number // 2 <= len(places) else None
            most -= put(node.input, name, most)
            places.append(node.input[-1])
        for _ in range(outputs):
            name = positional(output) if cursor.number() == BY_POSITION else next(names, None)
            most -= put(node.output, name, most)
            places.append(node.output[-1])
            output += 1


def put(values: list[str], name: str | bytes | None, most: int) -> int:
    """Append the name of a value, which takes at most `most` bytes, and return how many it takes."""
    if not isinstance(name, str) or len(name) > most:  # protobuf gives text that is no UTF-8 as bytes
        raise DamagedFile("its nodes refer to values that it does not hold")
    values.append(name)
    return len(name)
