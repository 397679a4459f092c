"""Rows of blocks are folded into the same profiles as their predictions one by one."""

import numpy as np
import pytest
from msgspec import defstruct, structs

from modelkeep.nouns import Block, Field
from modelkeep.nouns.blocks import Row
from modelkeep.profile import encode
from modelkeep.serving.binning import Binning, fold, fold_blocks

BINNING = Binning(
    inputs=(Field(name="x", kind="number"), Field(name="colour", kind="category", categories=("red", "blue"))),
    output=Field(name="y", kind="number"),
    edges={"x": np.linspace(-2.0, 2.0, 121), "y": np.linspace(-3.0, 3.0, 121)},
)


def block(first, *, at=50.0, version=1, rows, scores=None):
    draw = np.random.default_rng(first)
    features = [{"x": float(draw.normal()), "colour": ["red", "blue", "green"][i % 3]} for i in range(rows)]
    return Block(
        writer=1, first=first, model="m", version=version, role="champion", at=at, seconds=0.001 * first,
        features=features, outputs=draw.normal(size=rows).tolist(), keys=[""] * rows, requests=[""] * rows,
        scores=scores,
    )  # fmt: skip


@pytest.mark.parametrize("odd", [{}, {"x": None, "colour": "red"}, {"colour": None}])
def test_blocks_are_folded_as_their_predictions_are(odd):
    blocks = [block(1, rows=3), block(4, rows=40, scores=[i / 40 for i in range(40)]), block(44, rows=1, version=2)]
    blocks += [block(45, rows=2, at=7200.0)]
    if odd:
        blocks[1].features[7] = odd
    together = fold_blocks(blocks, lambda *_: BINNING)
    singly = fold([one for each in blocks for one in each.predictions()], lambda *_: BINNING)
    shown = [[(f.model, f.version, f.role, f.hour, encode(f.profile)) for f in found] for found in (together, singly)]
    assert shown[0] == shown[1]
    assert [(f.version, f.hour, f.profile.n) for f in together] == [(1, 0.0, 43), (2, 0.0, 1), (1, 7200.0, 2)]


def test_packed_rows_are_folded_as_dictionaries_are():
    inputs = tuple(Field(name=name, kind="number") for name in ("x", "z", "w"))
    binning = Binning(inputs=inputs, output=BINNING.output, edges=BINNING.edges | {"z": BINNING.edges["x"]})
    packed = defstruct("Packed", [("c0", float), ("c1", float)], bases=(Row,), rename={"c0": "z", "c1": "x"})
    plain = [block(1, rows=9), block(10, rows=30)]
    for one in plain:
        one.features[:] = [{"x": row["x"], "z": -row["x"]} for row in one.features]
    rows = [structs.replace(one, features=[packed(row["z"], row["x"]) for row in one.features]) for one in plain]
    for mixed in (rows, [plain[0], rows[1]]):
        folded = [fold_blocks(blocks, lambda *_: binning) for blocks in (mixed, plain)]
        assert encode(folded[0][0].profile) == encode(folded[1][0].profile)
    assert [p.features for p in rows[1].predictions()] == plain[1].features
    assert rows[1].only({"z"}).features == [{"z": row["z"]} for row in plain[1].features]
