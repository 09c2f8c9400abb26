"""What is suspicious in a Dataset: one file a family of checks, findings, and how they are shown."""
