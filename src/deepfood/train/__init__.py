"""Learning: fine-tune a backbone, or a head on its embeddings, and export the Model."""
