"""How good embeddings are: metrics, comparison, report."""
