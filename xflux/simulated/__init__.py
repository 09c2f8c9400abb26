"""A simulated world, whose law of the fluxes is known."""
