"""How the example workflows lie on ComfyUI's canvas: nodes beside one another, and no wire below a node."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "example_workflows").glob("*.json"))
TITLE, SLOT = 30, 20  # of ComfyUI's editor: heights of a node's title, which is above its place, and of a socket
GAP, CLEAR = 50, 8


def box(node):
    """Return left, top, right and bottom of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def ends(data):
    """Yield each wire: the nodes that it connects, where it begins and where it ends."""
    nodes = {node["id"]: node for node in data["nodes"]}
    for _, source, out, target, place, _ in data["links"]:
        (x, y), (to_x, to_y) = nodes[source]["pos"], nodes[target]["pos"]
        start = x + nodes[source]["size"][0], y + (out + 0.7) * SLOT
        yield nodes[source], nodes[target], start, (to_x, to_y + (place + 0.7) * SLOT)


def spline(start, end, points=200):
    """Yield points of the curve that ComfyUI's editor draws: it leaves and arrives level."""
    reach = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5 / 4
    xs, ys = (start[0], start[0] + reach, end[0] - reach, end[0]), (start[1], start[1], end[1], end[1])
    for number in range(points + 1):
        t = number / points
        weights = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        yield tuple(sum(weight * each for weight, each in zip(weights, along, strict=True)) for along in (xs, ys))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def data(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_nodes_do_not_overlap(data):
    for one, other in combinations(data["nodes"], 2):
        left, top, right, bottom = box(one)
        its_left, its_top, its_right, its_bottom = box(other)
        apart = right < its_left or its_right < left or bottom < its_top or its_bottom < top
        assert apart, f"{one['type']} lies on {other['type']}"


def test_wires_go_from_left_to_right_and_below_no_node(data):
    wires = list(ends(data))
    assert len(wires) == len(data["links"]) > 10
    for source, target, start, end in wires:
        name = f"the wire from {source['type']} to {target['type']}"
        assert end[0] - start[0] >= GAP, name
        for node in data["nodes"]:
            left, top, right, bottom = box(node)
            own = node in (source, target)  # it may touch its own node where it begins or ends
            clear = -1 if own else CLEAR
            for x, y in spline(start, end):
                inside = left - clear < x < right + clear and top - clear < y < bottom + clear
                assert not inside, f"{name} passes below {node['type']}"
