"""What is suspicious in a Dataset: a file for each family of checks, findings, and the report."""
