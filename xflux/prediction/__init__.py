"""From drivers to fluxes: blocks, the ensemble on them, the state, streaming."""
