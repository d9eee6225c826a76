"""Releases: artifacts in a bucket, whole or not at all, of which only what changed travels."""
