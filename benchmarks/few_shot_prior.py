"""Learn how far places differ from a model: the settings of `xflux.training.prior.Prior`.

From fold models of ``cross_validation.py``: each tower is seen by a model that knew neither it nor
its cluster. For every fold the settings are learned on the towers of the others, so that
``few_shot.py --prior`` scores towers that no setting has seen; those of all folds together are what
the package holds::

    python benchmarks/few_shot_prior.py --folds output/cross_validation/daily-members5-...

Minimised by Adam is what matters at the end: the mean over draws of the RMSE after tuning, in
years that were not tuned to, plus ``--caution`` times how much worse the towers got that got worse.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from few_shot import Tower, draws_of, towers_of
from torch import Tensor

import xflux
from xflux.training.prior import PRIORS

GROUPS = ("recurrent", "recurrent_bias", "direct", "direct_bias")
MISFIT = ("floor", "share", "noise", "memory")
WAYS = (("block", 7), ("block", 30), ("block", 90), ("spread", 30), ("block", 365))


def grams(tower: Tower, labels: np.ndarray, scored: np.ndarray, what: str) -> dict:
    """Inner products between labels, and between scored days and labels, by group and flux."""
    heads, members = tower.heads, len(tower.heads.weights)
    split, unit = heads.split, heads.spread.mean(axis=0)
    parts = {
        "recurrent": slice(0, split - 1),
        "recurrent_bias": slice(split - 1, split),
        "direct": slice(split, -1),
        "direct_bias": slice(-1, None),
    }
    slope = {
        key: heads.slopes(tower.seen[rows].astype(float)) * np.sqrt(members)
        for key, rows in (("label", labels), ("score", scored))
    }
    found = {"day": torch.from_numpy(tower.day[labels].astype(np.float32)), "flux": []}
    for k in (0, 1):
        base = {"label": tower.base[labels, k], "score": tower.base[scored, k]}
        blocks = {}
        for name in GROUPS if what == "head" else ("scale",):
            one, other = (
                slope[key][:, k, :, parts[name]].reshape(len(base[key]), -1) / unit[k]
                if name in parts
                else base[key][:, None] / unit[k]
                for key in ("label", "score")
            )
            blocks[name] = (as_tensor(one @ one.T), as_tensor(other @ one.T))
        found["flux"].append(
            {
                "blocks": blocks,
                "unit": float(unit[k]),
                "base": as_tensor(base["label"] / unit[k]),
                "left": as_tensor((tower.labels[labels, k] - base["label"]) / unit[k]),
                "then": as_tensor(base["score"] / unit[k]),
                "error": as_tensor((tower.labels[scored, k] - base["score"]) / unit[k]),
            }
        )
    return found | {"fold": tower.fold}


def as_tensor(values: np.ndarray) -> Tensor:
    """Single precision."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def after(problem: dict, log: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """RMSE of GPP and Reco before and after tuning, each (2,), linear in the heads."""
    apart = (problem["day"][:, None] - problem["day"][None]).abs()
    kernel = torch.exp(-apart / torch.exp(log["memory"]))
    kernel = kernel + torch.exp(log["noise"]) * torch.eye(len(apart))
    before, then = [], []
    for flux in problem["flux"]:
        size = torch.exp(log["floor"]) + torch.exp(log["share"]) * flux["base"]
        total = kernel * size[:, None] * size[None] + 1e-5 * torch.eye(len(apart))
        across = torch.zeros(())
        for name, (square, cross) in flux["blocks"].items():
            total = total + torch.exp(2 * log[name]) * square
            across = across + torch.exp(2 * log[name]) * cross
        root = torch.linalg.cholesky(total)
        change = (across @ torch.cholesky_solve(flux["left"][:, None], root))[:, 0]
        error = torch.maximum(change, -flux["then"]) - flux["error"]
        before.append(flux["error"].square().mean().sqrt() * flux["unit"])
        then.append(error.square().mean().sqrt() * flux["unit"])
    return torch.stack(before), torch.stack(then)


def learn(problems: list[dict], names: tuple[str, ...], caution: float, steps: int) -> dict:
    """The settings with which tuning does best."""
    log = {
        name: torch.tensor(float(np.log(getattr(PRIORS["daily"], name))), requires_grad=True)
        for name in names
    }
    rng = np.random.default_rng(0)
    optimiser = torch.optim.Adam(list(log.values()))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.15 * (1 - step / steps) + 0.01
        some = [problems[i] for i in rng.permutation(len(problems))[:60]]
        before, then = (torch.stack(v) for v in zip(*(after(p, log) for p in some), strict=True))
        ratio = then.mean(dim=1) / before.mean(dim=1)
        loss = then.sum() / before.sum() + caution * torch.relu(ratio - 1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: round(float(torch.exp(value.detach())), 3) for name, value in log.items()}


def main() -> None:
    """Learn and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=Path, required=True)
    parser.add_argument("--caution", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("output/few_shot/prior.json"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)
    torch.set_num_threads(1)
    problems: dict[str, list[dict]] = {"head": [], "scale": []}
    for tower in towers_of(args.data, args.folds):
        for number, (draw, _) in enumerate(draws_of(tower, 2, seed=1)):
            for way in WAYS:
                if way[1] == 365 and number:
                    continue
                for what, kept in problems.items():
                    kept.append(grams(tower, draw.labels[way], draw.scored[::8], what))
    folds = sorted({p["fold"] for p in problems["head"]})

    def settings(kept: set[int]) -> dict:
        head = [p for p in problems["head"] if p["fold"] in kept]
        found = learn(head, (*GROUPS, *MISFIT), args.caution, args.steps)
        scale = [p for p in problems["scale"] if p["fold"] in kept]
        alone = learn(scale, ("scale", *MISFIT), args.caution, args.steps)
        return found | {"scale": alone["scale"], "misfit of scale": [alone[n] for n in MISFIT]}

    result: dict = {"all": settings(set(folds))}
    print("all folds", result["all"], flush=True)
    result["folds"] = {}
    for k in folds if len(folds) > 1 else ():
        found = settings(set(folds) - {k})
        print("without fold", k, found, flush=True)
        result["folds"][str(k)] = {n: v for n, v in found.items() if isinstance(v, float)}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
