"""One member over tiles of series in one go, compiled for this processor once a process.

Both networks of a member, their heads and the mean of both are computed a step at a time for a tile
of series, in one function without intermediate arrays: weights, inputs and state of a tile stay in
the processor's cache over all steps. The reference is `xflux.networks.ct_lstm.Member`.

Shapes: ``B`` series, ``T`` steps, ``D`` driver columns of which the first ``A`` are averaged, ``S``
spans, ``K`` characteristic columns, ``H`` hidden units; a row of a tile is one number a series.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir

from xflux.features import Array
from xflux.prediction.vector_code import I64, POINTER, Code, Layer, Row, Tile

ARRAYS = 9
"""Arrays that `Kernel.call` takes: those of `Kernel.run`, and room to work in."""

LINE = 16
"""Numbers in a line of the cache, at which the room to work in begins."""

_LOCK = threading.Lock()


class Shape(NamedTuple):
    """Sizes of a member: D, A, S, K and H."""

    drivers: int
    averaged: int
    spans: int
    characteristics: int
    hidden: int

    @property
    def means(self) -> int:
        """Columns of running means."""
        return self.spans * self.averaged


def layers(shape: Shape, rows: int) -> tuple[dict[str, Layer], int]:
    """The matrices of a member in their order, and how many numbers they are in all.

    Rows are filled up with zeros to a multiple of ``rows``; a unit of the LSTM has its four gates
    in a row: input, forget, candidate, output.
    """
    units, wide = -(-shape.hidden * 4 // rows), -(-shape.hidden * 2 // rows)
    found, offset = {}, 0
    for name, blocks, columns, bias in (
        ("gates_fixed", units, shape.characteristics, True),
        ("gates", units, shape.drivers + shape.hidden, False),
        ("first_fixed", wide, shape.characteristics, True),
        ("first", wide, shape.drivers + shape.means, False),
        ("second", wide, 2 * shape.hidden, True),
        ("heads", 1, 3 * shape.hidden, True),
        ("spread", 1, 1, False),
        ("gain", 1, shape.spans, False),
    ):
        found[name] = Layer(offset, blocks, columns, bias)
        offset += blocks * (columns + bias) * rows
    return found, offset


class Step(Code):
    """The functions of a kernel: `gather` and `scatter` between arrays and tiles, and `advance`."""

    def __init__(self, shape: Shape, tile: Tile) -> None:
        super().__init__(tile)
        self.shape = shape
        self.layers, _ = layers(shape, tile.rows)
        self.gather = self.copy("gather", into_tile=True)
        self.scatter = self.copy("scatter", into_tile=False)
        self.work = 0
        self._advance()

    def _rows(self, count: int) -> ir.Value:
        """Some rows of the workspace."""
        found = self.row(self._workspace, self.work)
        self.work += count
        return found

    def _advance(self) -> None:
        """Every tile of series, one after another, over all steps."""
        made = self.function("advance", [I64, I64, *[POINTER] * ARRAYS])
        count, steps, *arrays = made.args
        (drivers, characteristics, ones, sums, hidden, cell, fluxes, weights, work) = arrays
        b, shape, layer = self.builder, self.shape, self.layers
        self._workspace, self._weights = work, weights
        units = layer["gates"].blocks * self.tile.rows // 4
        wide = layer["second"].blocks * self.tile.rows
        seen, own = self._rows(shape.drivers + shape.means), self._rows(shape.characteristics)
        now, following, cells = (self._rows(units) for _ in range(3))
        gates, first, output = self._rows(4 * units), self._rows(wide), self._rows(2)
        hiddens = self._rows(wide), self._rows(wide)
        averages = self._rows(shape.spans), self._rows(shape.means)
        state = (
            (ones, averages[0], shape.spans),
            (sums, averages[1], shape.means),
            (hidden, now, shape.hidden),
            (cell, cells, shape.hidden),
        )
        with self.loop(count, step=self.tile.series) as tile:

            def copy(
                function: ir.Function, rows: ir.Value, array: ir.Value, columns: int,
                stride: ir.Value | None = None,
            ) -> None:  # fmt: skip
                if columns:
                    every = I64(columns) if stride is None else stride
                    b.call(function, [rows, array, every, I64(columns), tile.index, count])

            copy(self.gather, own, characteristics, shape.characteristics)
            for array, rows, columns in state:
                copy(self.gather, rows, array, columns)
            known = [(own, shape.characteristics)]
            self.dense(weights, layer["gates_fixed"], known, self.into(gates, lambda x: x))
            self.dense(weights, layer["first_fixed"], known, self.into(first, lambda x: x))
            with self.loop(steps, (now, following)) as step:
                before, after = step.carried
                here = self.at(drivers, b.mul(step.index, I64(shape.drivers)))
                copy(self.gather, seen, here, shape.drivers, b.mul(steps, I64(shape.drivers)))
                self._means(seen, averages)
                self._lstm(seen, before, after, gates, cells)
                self._network(seen, first, hiddens)
                self._heads(after, hiddens[1], output)
                there = self.at(fluxes, b.mul(step.index, I64(2)))
                copy(self.scatter, output, there, 2, b.mul(steps, I64(2)))
                step.carried = [after, before]
            ends = {now: step.carried[0]}
            for array, rows, columns in state:
                copy(self.scatter, ends.get(rows, rows), array, columns)
        b.ret_void()

    def _means(self, seen: ir.Value, averages: tuple[ir.Value, ir.Value]) -> None:
        """Running means after the drivers: sums move towards the drivers, and so do those of 1."""
        b, shape, one = self.builder, self.shape, self.constant(1)
        ones, sums = averages
        for s in range(shape.spans):
            gain = self.everywhere(self._weights, self.layers["gain"].offset + s * self.tile.rows)
            share = [self.fma(gain, b.fsub(one, old), old) for old in self.load(ones, s)]
            self.store(share, ones, s)
            share = [b.fdiv(one, value) for value in share]
            with self.loop(shape.averaged) as driver:
                row = b.add(driver.index, I64(s * shape.averaged))
                values = zip(self.load(seen, driver.index), self.load(sums, row), strict=True)
                moved = [self.fma(gain, b.fsub(x, old), old) for x, old in values]
                self.store(moved, sums, row)
                means = [b.fmul(x, part) for x, part in zip(moved, share, strict=True)]
                self.store(means, seen, b.add(row, I64(shape.drivers)))

    def _lstm(
        self, seen: ir.Value, before: ir.Value, after: ir.Value, gates: ir.Value, cells: ir.Value
    ) -> None:
        """The gates of some units at a time, and their cells as soon as they are known."""
        b = self.builder

        def epilogue(first: ir.Value, sums: list[Row]) -> None:
            unit = b.udiv(first, I64(4))
            for k in range(0, len(sums), 4):
                index, new, out = b.add(unit, I64(k // 4)), [], []
                for i, f, g, o, old in zip(*sums[k : k + 4], self.load(cells, index), strict=True):
                    entered = b.fmul(self.sigmoid(i), self.tanh(g))
                    new.append(self.fma(self.sigmoid(f), old, entered))
                    out.append(b.fmul(self.sigmoid(o), self.tanh(new[-1])))
                self.store(new, cells, index)
                self.store(out, after, index)

        inputs = [(seen, self.shape.drivers), (before, self.shape.hidden)]
        self.dense(self._weights, self.layers["gates"], inputs, epilogue, begin=gates)

    def _network(self, seen: ir.Value, first: ir.Value, hiddens: tuple[ir.Value, ir.Value]) -> None:
        """The network over means, up to its second hidden layer."""
        one, two = hiddens
        inputs = [(seen, self.shape.drivers + self.shape.means)]
        silu = self.silu
        self.dense(self._weights, self.layers["first"], inputs, self.into(one, silu), begin=first)
        inputs = [(one, 2 * self.shape.hidden)]
        self.dense(self._weights, self.layers["second"], inputs, self.into(two, silu))

    def _heads(self, lstm: ir.Value, network: ir.Value, output: ir.Value) -> None:
        """GPP and Reco of both networks in one block, and their means in physical units."""
        b, spread = self.builder, self.layers["spread"].offset

        def epilogue(_: ir.Value, sums: list[Row]) -> None:
            for k in range(2):
                half = self.everywhere(self._weights, spread + k)
                both = zip(sums[k], sums[2 + k], strict=True)
                fluxes = [b.fadd(self.softplus(x), self.softplus(y)) for x, y in both]
                self.store([b.fmul(flux, half) for flux in fluxes], output, k)

        inputs = [(lstm, self.shape.hidden), (network, 2 * self.shape.hidden)]
        self.dense(self._weights, self.layers["heads"], inputs, epilogue)


class Kernel(NamedTuple):
    """A compiled function.

    Attributes
    ----------
    call : function
        ``advance`` of `Step`.
    work : int
        Numbers that it needs room for.
    owner : ExecutionEngine
        Keeps the code in memory.
    """

    call: Callable[..., None]
    work: int
    owner: binding.ExecutionEngine

    def run(
        self,
        drivers: Array,
        characteristics: Array,
        state: tuple[Array, ...],
        fluxes: Array,
        weights: Array,
    ) -> None:
        """Run one member over some series; other Python threads run meanwhile.

        All arrays are float32 and in one piece, with sizes that go with each other.

        Parameters
        ----------
        drivers, characteristics : numpy.ndarray
            Shapes (B, T, D) and (B, K).
        state : tuple of numpy.ndarray
            Decaying sums of ones (B, S) and of drivers (B, S, A), hidden and cell state (B, H),
            each replaced by what it is at the end.
        fluxes : numpy.ndarray
            Shape (B, T, 2): the result.
        weights : numpy.ndarray
            As from `pack`.
        """
        room = np.empty(self.work + LINE, dtype=np.float32)
        room = room[-room.ctypes.data // 4 % LINE :]
        arrays = (drivers, characteristics, *state, fluxes, weights, room)
        count, steps, _ = drivers.shape
        if count and steps:
            self.call(count, steps, *(array.ctypes.data for array in arrays))


def compiled(shape: Shape, tile: Tile) -> Kernel:
    """The function for a shape, compiled once a process, by whichever thread comes first."""
    with _LOCK:
        return _compiled(shape, tile)


@functools.cache
def _compiled(shape: Shape, tile: Tile) -> Kernel:
    step = Step(shape, tile)
    address, owner = compile_function(step.module, "advance")
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * ARRAYS)
    return Kernel(kind(address), step.work * tile.series, owner)


def compile_function(module: ir.Module, name: str) -> tuple[int, binding.ExecutionEngine]:
    """The address of a function in machine code of this processor, and what keeps it there."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
    )
    owner = binding.create_mcjit_compiler(parsed, machine)
    owner.finalize_object()
    return owner.get_function_address(name), owner


def pack(weights: Mapping[str, npt.NDArray[np.generic]], shape: Shape, rows: int) -> Array:
    """The weights of a member in the order in which the compiled function reads them."""
    member = {name: np.asarray(values, dtype=np.float32) for name, values in weights.items()}
    drivers, seen, hidden = shape.drivers, shape.drivers + shape.means, shape.hidden
    inputs, recurrent = (member[f"recurrent.lstm.weight_{part}_l0"] for part in ("ih", "hh"))
    biases = member["recurrent.lstm.bias_ih_l0"] + member["recurrent.lstm.bias_hh_l0"]
    first = member["direct.first.weight"]
    heads = np.zeros((4, 3 * hidden), dtype=np.float32)
    heads[:2, :hidden] = member["recurrent.heads.weight"]
    heads[2:, hidden:] = member["direct.heads.weight"]
    gain = -np.expm1(-1.0 / member["running.spans"].astype(np.float64))

    def by_unit(matrix: Array) -> Array:
        return matrix.reshape(4, hidden, -1).swapaxes(0, 1).reshape(4 * hidden, -1)

    def with_bias(matrix: Array, bias: Array) -> Array:
        return np.concatenate([bias[:, None], matrix], axis=1)

    matrices = {
        "gates_fixed": by_unit(with_bias(inputs[:, drivers:], biases)),
        "gates": by_unit(np.concatenate([inputs[:, :drivers], recurrent], axis=1)),
        "first_fixed": with_bias(first[:, seen:], member["direct.first.bias"]),
        "first": first[:, :seen],
        "second": with_bias(member["direct.second.weight"], member["direct.second.bias"]),
        "heads": with_bias(
            heads, np.concatenate([member["recurrent.heads.bias"], member["direct.heads.bias"]])
        ),
        "spread": np.float32(0.5) * member["spread"][:, None],
        "gain": gain[None].astype(np.float32),
    }
    found, size = layers(shape, rows)
    packed = np.zeros(size, dtype=np.float32)
    for name, layer in found.items():
        filled = np.zeros((layer.blocks * rows, layer.columns + layer.bias), dtype=np.float32)
        filled[: len(matrices[name])] = matrices[name]
        blocks = filled.reshape(layer.blocks, rows, -1).swapaxes(1, 2)
        packed[layer.offset : layer.offset + blocks.size] = blocks.ravel()
    return packed
