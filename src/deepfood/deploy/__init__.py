"""Deploys the service to the user's cloud: shows the plan, and applies it on request."""
