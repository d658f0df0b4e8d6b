"""What a model is worth: frames and vectors in, scores per query, means and intervals out."""
