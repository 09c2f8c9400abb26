"""Why a model predicts what it does: contributions of its inputs, and their importance."""
