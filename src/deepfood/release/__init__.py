"""Releases: complete, immutable artifacts in a bucket; only changes are transferred."""
