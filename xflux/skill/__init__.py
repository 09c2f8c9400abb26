"""How good a prediction is: splits by cluster, scores, comparison, cross-validation."""
