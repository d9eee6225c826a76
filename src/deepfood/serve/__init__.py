"""The search service: `service` knows no HTTP, `app` speaks HTTP and knows no models."""
