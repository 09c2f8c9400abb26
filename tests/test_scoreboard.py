"""The scoreboard of the benchmarks: groups, scores by tower, folds that rows share, windows."""

import argparse
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Import a module of the benchmarks by name."""
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks/ is not part of this copy")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def fluxes(seed: int) -> xr.Dataset:
    """Three towers, of which the last has no labels where ``seed`` is 0."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2001-01-01", periods=90)
    values = {t: (("site", "time"), rng.normal(size=(3, 90))) for t in ("GPP", "Reco", "NEE")}
    ds = xr.Dataset(values, {"site": ["A", "B", "C"], "time": time})
    return ds.where((ds.site != "C") | (seed > 0)).where(ds.time.dt.day > seed)


def test_groups_are_told_by_longitude(benchmark):
    tables = benchmark("scoreboard_tables")
    #            Alaska  Brazil  Greenland, east  Finland  Japan  Canada from 0 to 360
    longitude = [-150.0, -55.0, -20.0, 25.0, 140.0, 280.0]
    found = tables.group_of(np.array(longitude)) == "AmeriFlux"
    assert found.tolist() == [True, True, False, False, False, True]


def test_pooled_scores_follow_from_those_of_towers(benchmark):
    tables = benchmark("scoreboard_tables")
    predicted, observed = fluxes(1), fluxes(0)
    about = pd.DataFrame({"cluster": [0, 1, 1], "fold": 0}, index=["A", "B", "C"])
    frame = tables.by_tower(predicted, observed, about)
    error = (predicted - observed).to_dataarray()
    assert frame.index.tolist() == ["A", "B"]
    assert (frame.n == error.sel(variable="GPP").notnull().sum("time").values[:2]).all()
    np.testing.assert_allclose(tables.pooled(frame), np.sqrt((error**2).mean(("site", "time"))))
    gpp, seen = error.sel(variable="GPP", site="A"), observed.GPP.where(predicted.GPP.notnull())
    r2 = 1 - (gpp**2).sum() / ((seen[0] - seen[0].mean()) ** 2).sum()
    assert frame.r2_GPP["A"] == pytest.approx(float(r2))
    assert frame.bias_GPP["A"] == pytest.approx(float(gpp.mean()))


def test_rows_are_compared_on_the_folds_that_all_have(benchmark, tmp_path, capsys):
    pytest.importorskip("lightgbm")
    scoreboard = benchmark("scoreboard")
    for name, members, folds in (
        ("ridge", 1, (0, 1)),
        ("lightgbm", 5, (1,)),
        ("lightgbm", 3, (0, 1)),
    ):
        folder = scoreboard.folder_of(tmp_path, name, 0, members)
        folder.mkdir(parents=True)
        for k in folds:
            (folder / f"fold{k}.nc").touch()
    args = argparse.Namespace(output=tmp_path, seed=0, members=5, folds=[0, 1, 2])
    table = scoreboard.methods("daily")
    rows, folds = scoreboard.common_folds(table, ["ridge", "lightgbm", "climatology"], args)
    assert folds == [1]
    assert set(rows) == {"ridge", "lightgbm"}
    assert "fold 0 is left out: it is not there yet for lightgbm" in capsys.readouterr().out
    args.members = 10  # of which nothing is there: those with most folds
    assert scoreboard.common_folds(table, ["ridge", "lightgbm"], args)[1] == [0, 1]


def test_a_step_counts_where_every_row_has_fluxes(benchmark):
    pytest.importorskip("lightgbm")
    scoreboard = benchmark("scoreboard")
    one, other = (fluxes(seed).expand_dims("realization") for seed in (2, 5))
    seen = scoreboard.mask_of({"one": one, "other": other}, fluxes(0))
    wanted = (fluxes(0).GPP * fluxes(2).GPP * fluxes(5).GPP).notnull()
    assert wanted.any()
    assert (seen.NEE.notnull() == wanted).all()


def test_no_method_is_given_labels(benchmark):
    methods = benchmark("scoreboard_methods")
    names = ("GPP_NT", "GPP_DT", "RECO_NT", "Reco", "NEE", "NEE_QC", "TA", "LAI", "igbp")
    assert set(methods.without_labels(xr.Dataset(dict.fromkeys(names, 0)))) == {"TA", "LAI", "igbp"}


def test_a_model_that_saw_a_tower_does_not_predict_it(benchmark, tmp_path):
    import xflux

    methods = benchmark("scoreboard_methods")
    model = xflux.load_model("daily")
    model.save(tmp_path / "fold0.safetensors")
    test = xr.Dataset(coords={"site": [model.card["towers"][0]]})
    job = methods.Job(test, test, 0, 0, 5, tmp_path, {"ct-lstm": tmp_path}, 1, False)
    with pytest.raises(ValueError, match="has learned from"):
        methods.trained(job, "ct-lstm", method="ct-lstm", epochs=1)


def test_windows_of_the_peer_have_no_gap_and_keep_apart(benchmark):
    pytest.importorskip("lightgbm")
    peer = benchmark("peer_carbonfluxbench")
    whole = np.ones((2, 200), dtype=bool)
    whole[1, 70] = False
    border = peer._border(whole)
    early = whole & (np.arange(200) < border[:, None])
    late = whole & ~early
    assert (early.sum(axis=1) == [160, 159]).all()
    starts, tail = peer._starts(early), peer._starts(late)
    assert starts[starts[:, 0] == 0, 1].tolist() == list(range(0, 131, 15))
    assert all(early[i, s : s + 30].all() for i, s in starts)
    assert tail[:, 1].tolist() == [160, 160]


def test_the_closure_of_the_peer_is_between_normalised_fluxes(benchmark):
    pytest.importorskip("lightgbm")
    torch = pytest.importorskip("torch")
    peer = benchmark("peer_carbonfluxbench")
    predicted = torch.tensor([[[1.0, 3.0, 2.0], [1.0, 3.0, 1.0]]])
    weight = torch.tensor([[1.0, 3.0]])
    #  errors of the second step: 1, 0 and 0; its closure: 1 - (3 - 1) = -1
    observed = torch.tensor([[[1.0, 3.0, 2.0], [0.0, 3.0, 1.0]]])
    loss = float(peer.loss_of(predicted, observed, weight))
    assert loss == pytest.approx(3.0 / 3 / 2 + 0.1 * (0.0 + 1.0) / 2)
