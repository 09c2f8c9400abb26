"""The command line: one command a file, each thin over the functions that ``ds.flux`` calls."""
