"""Readers of tower and reanalysis formats: each turns files into one CF Dataset."""
