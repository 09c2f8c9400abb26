"""Writes vector instructions with llvmlite: rows of numbers, activations, and layers of a network.

The lanes of a vector are series. Nothing is ever summed across lanes, so every series sees the same
instructions in the same order, whichever others go with it. A layer is computed some rows of its
matrix at a time: their sums stay in registers over all columns (`Code.accumulate`), and what
follows them is applied before anything is stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numpy.polynomial import Chebyshev, Polynomial

I32, I64, F32, POINTER = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.PointerType()
VOID = ir.VoidType()

Row = list[ir.Value]
"""The vectors of one row of a tile."""

Epilogue = Callable[[ir.Value, list[Row]], None]
"""What is done with some rows of a layer, given the number of the first and their sums."""

EXP2 = Chebyshev.interpolate(np.exp2, 5, domain=[-0.5, 0.5]).convert(kind=Polynomial).coef.tolist()
"""Coefficients of ``2 ** x`` on -0.5 to 0.5, exact to 8e-8."""

CHAIN = 32
"""Products that are summed one after another; the error of a sum grows with their number."""

LOG1P = (
    Chebyshev.interpolate(lambda x: np.log1p(x) / x, 9, domain=[0, 1])
    .convert(kind=Polynomial)
    .coef.tolist()
)
"""Coefficients of ``log(1 + x) / x`` on 0 to 1, exact to 2e-8."""


class Tile(NamedTuple):
    """How registers are used: ``rows`` of a matrix times ``vectors`` of ``lanes`` series.

    ``rows`` is a multiple of 4, so that the four gates of a unit come together.
    """

    lanes: int
    vectors: int
    rows: int

    @property
    def series(self) -> int:
        """Series in a tile."""
        return self.lanes * self.vectors


class Layer(NamedTuple):
    """Where a matrix lies among the weights: from ``offset``, ``blocks`` of ``rows`` rows.

    A block is the biases of its rows where there are any, then its columns one by one.
    """

    offset: int
    blocks: int
    columns: int
    bias: bool


class _Turn:
    """A turn of a loop: its number, and what is carried from turn to turn."""

    def __init__(self, index: ir.Value, carried: Sequence[ir.Value]) -> None:
        self.index, self.carried = index, list(carried)


class Code:
    """Writes instructions on rows of a tile."""

    def __init__(self, tile: Tile) -> None:
        self.tile, self.module = tile, ir.Module("xflux")
        self.vector, self.integers = (ir.VectorType(kind, tile.lanes) for kind in (F32, I32))
        self.builder = ir.IRBuilder()
        self._fma = self._intrinsic("fma", 3)
        self._round = self._intrinsic("rint", 1)

    def _intrinsic(self, name: str, arguments: int) -> ir.Function:
        kind = ir.FunctionType(self.vector, [self.vector] * arguments)
        return ir.Function(self.module, kind, f"llvm.{name}.v{self.tile.lanes}f32")

    def function(self, name: str, arguments: Sequence[ir.Type]) -> ir.Function:
        """Begin a function; what is written next is its body."""
        made = ir.Function(self.module, ir.FunctionType(VOID, arguments), name)
        self.builder.position_at_end(made.append_basic_block())
        return made

    @contextlib.contextmanager
    def loop(
        self, count: ir.Value | int, carried: Sequence[ir.Value] = (), step: int = 1
    ) -> Iterator[_Turn]:
        """Write the body of a loop that turns at least once."""
        b = self.builder
        before, body = b.block, b.append_basic_block()
        b.branch(body)
        b.position_at_end(body)
        index = b.phi(I64)
        index.add_incoming(I64(0), before)
        phis = [b.phi(value.type) for value in carried]
        turn = _Turn(index, phis)
        yield turn
        following = b.add(index, I64(step))
        index.add_incoming(following, b.block)
        for phi, first, last in zip(phis, carried, turn.carried, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(last, b.block)
        after = b.append_basic_block()
        b.cbranch(b.icmp_unsigned("<", following, _number(count)), body, after)
        b.position_at_end(after)

    # --- memory: an address is that of a float, a row is `tile.series` of them

    def at(self, base: ir.Value, index: ir.Value | int) -> ir.Value:
        """The address of a number."""
        return self.builder.gep(base, [_number(index)], source_etype=F32)

    def row(self, base: ir.Value, index: ir.Value | int) -> ir.Value:
        """The address of a row of a tile."""
        return self.at(base, self.builder.mul(_number(index), I64(self.tile.series)))

    def load(self, base: ir.Value, index: ir.Value | int) -> Row:
        """A row of a tile."""
        first = self.row(base, index)
        return [
            self.builder.load(self.at(first, v * self.tile.lanes), align=4, typ=self.vector)
            for v in range(self.tile.vectors)
        ]

    def store(self, values: Row, base: ir.Value, index: ir.Value | int) -> None:
        """Write a row of a tile."""
        first = self.row(base, index)
        for v, value in enumerate(values):
            self.builder.store(value, self.at(first, v * self.tile.lanes), align=4)

    def everywhere(self, base: ir.Value, index: ir.Value | int) -> ir.Value:
        """A number in all lanes of a vector."""
        number = self.builder.load(self.at(base, index), align=4, typ=F32)
        nothing = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(nothing, number, I32(0))
        lanes = ir.Constant(self.integers, [0] * self.tile.lanes)
        return self.builder.shuffle_vector(one, nothing, lanes)

    def copy(self, name: str, *, into_tile: bool) -> ir.Function:
        """A function that copies between an array (B, ...) and rows of a tile, column by row.

        The tile begins with series ``first``. Where too few are left it is filled up with the
        last one, and only those that are there are written.
        """
        made = self.function(name, [POINTER, POINTER, I64, I64, I64, I64])
        rows, array, stride, columns, first, count = made.args
        b, width = self.builder, I64(self.tile.series)
        left = b.sub(count, first)
        there = b.select(b.icmp_unsigned("<", left, width), left, width)
        with self.loop(width if into_tile else there) as lane:
            inside = b.icmp_unsigned("<", lane.index, there)
            series = b.select(inside, lane.index, b.sub(there, I64(1)))
            one = self.at(array, b.mul(b.add(first, series), stride))
            with self.loop(columns) as column:
                outside = self.at(one, column.index)
                within = self.at(self.row(rows, column.index), lane.index)
                source, target = (outside, within) if into_tile else (within, outside)
                b.store(b.load(source, align=4, typ=F32), target, align=4)
        b.ret_void()
        return made

    # --- arithmetic on vectors

    def constant(self, number: float) -> ir.Value:
        """The same number in all lanes."""
        return ir.Constant(self.vector, [float(np.float32(number))] * self.tile.lanes)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """``a * b + c``, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def polynomial(self, coefficients: Sequence[float], x: ir.Value) -> ir.Value:
        """A polynomial, by Horner's rule."""
        *lower, value = map(self.constant, coefficients)
        for coefficient in reversed(lower):
            value = self.fma(value, x, coefficient)
        return value

    def exp(self, x: ir.Value, factor: float = 1.0) -> ir.Value:
        """``exp(factor * x)`` as ``2 ** (whole + part)``: bits of the exponent, and a polynomial.

        Exact to ``1e-7 * (2 + |x|)`` of its value, which is held between 2 ** -126 and 2 ** 126;
        NaN stays.
        """
        b, limit = self.builder, self.constant(126)
        power = b.fmul(x, self.constant(factor / np.log(2)))
        power = b.select(b.fcmp_ordered("<", limit, power), limit, power)
        power = b.select(b.fcmp_ordered(">", b.fneg(limit), power), b.fneg(limit), power)
        whole = b.call(self._round, [power])
        part = self.polynomial(EXP2, b.fsub(power, whole))
        bits = ir.Constant(self.integers, [23] * self.tile.lanes)
        exponent = b.shl(b.fptosi(whole, self.integers), bits)
        return b.bitcast(b.add(b.bitcast(part, self.integers), exponent), self.vector)

    def sigmoid(self, x: ir.Value) -> ir.Value:
        """``1 / (1 + exp(-x))``."""
        one = self.constant(1)
        return self.builder.fdiv(one, self.builder.fadd(self.exp(x, -1), one))

    def silu(self, x: ir.Value) -> ir.Value:
        """``x / (1 + exp(-x))``."""
        return self.builder.fdiv(x, self.builder.fadd(self.exp(x, -1), self.constant(1)))

    def tanh(self, x: ir.Value) -> ir.Value:
        """``(1 - exp(-2 x)) / (1 + exp(-2 x))``, exact to about 1e-7."""
        b, one, shrunk = self.builder, self.constant(1), self.exp(x, -2)
        return b.fdiv(b.fsub(one, shrunk), b.fadd(shrunk, one))

    def softplus(self, x: ir.Value) -> ir.Value:
        """``log(1 + exp(x))`` as ``max(x, 0) + log1p(exp(-|x|))``: never negative."""
        b, zero = self.builder, self.constant(0)
        negative = b.fcmp_ordered("<", x, zero)
        y = self.exp(b.select(negative, x, b.fneg(x)))
        return self.fma(y, self.polynomial(LOG1P, y), b.select(negative, zero, x))

    # --- layers

    def accumulate(
        self, sums: list[Row], weights: ir.Value, columns: ir.Value, count: int
    ) -> list[Row]:
        """Add ``count`` columns of some rows of a matrix, each times its row of a tile.

        No more than `CHAIN` columns one after another, so that rounding errors stay small.
        """
        for first in range(0, count, CHAIN):
            there = self.at(weights, first * self.tile.rows), self.row(columns, first)
            part = self._chain(*there, min(CHAIN, count - first))
            sums = [
                [self.builder.fadd(x, y) for x, y in zip(*both, strict=True)]
                for both in zip(sums, part, strict=True)
            ]
        return sums

    def _chain(self, weights: ir.Value, columns: ir.Value, count: int) -> list[Row]:
        """The sum over some columns: the loop in which the time goes.

        For each of ``rows`` weights, one product with each of ``vectors``, into sums that never
        leave their registers.
        """
        rows, vectors = self.tile.rows, self.tile.vectors
        with self.loop(count, [self.constant(0)] * (rows * vectors)) as turn:
            inputs = self.load(columns, turn.index)
            column = self.at(weights, self.builder.mul(turn.index, I64(rows)))
            before, turn.carried = turn.carried, []
            for r in range(rows):
                weight = self.everywhere(column, r)
                turn.carried += [
                    self.fma(weight, inputs[v], before[r * vectors + v]) for v in range(vectors)
                ]
        return [turn.carried[r * vectors : (r + 1) * vectors] for r in range(rows)]

    def dense(
        self,
        weights: ir.Value,
        layer: Layer,
        inputs: Sequence[tuple[ir.Value, int]],
        epilogue: Epilogue,
        *,
        begin: ir.Value | None = None,
    ) -> None:
        """A layer over a tile: its rows begin with their biases, or with the rows at ``begin``."""
        b, rows = self.builder, self.tile.rows
        with self.loop(layer.blocks) as turn:
            first = b.mul(turn.index, I64(rows))
            size = I64((layer.columns + layer.bias) * rows)
            block = self.at(self.at(weights, layer.offset), b.mul(turn.index, size))
            if begin is None:
                sums = [[self.everywhere(block, r)] * self.tile.vectors for r in range(rows)]
            else:
                sums = [self.load(begin, b.add(first, I64(r))) for r in range(rows)]
            block = self.at(block, rows * layer.bias)
            for columns, count in inputs:
                sums = self.accumulate(sums, block, columns, count)
                block = self.at(block, count * rows)
            epilogue(first, sums)

    def into(self, base: ir.Value, function: Callable[[ir.Value], ir.Value]) -> Epilogue:
        """Store a function of the sums."""

        def epilogue(first: ir.Value, sums: list[Row]) -> None:
            for r, row in enumerate(sums):
                values = [function(value) for value in row]
                self.store(values, base, self.builder.add(first, I64(r)))

        return epilogue


def _number(value: ir.Value | int) -> ir.Value:
    return I64(value) if isinstance(value, int) else value
