"""Dataset sources: where photos and their labels come from."""
