"""Training: fine-tune a backbone, or fit a head to its embeddings, and export the Model."""
