"""Budgets: what fluxes on a grid add up to."""
