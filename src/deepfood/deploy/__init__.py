"""Puts the service on somebody's cloud: writes what is needed, shows it, and does it when asked."""
