"""Runs as Kubernetes Jobs, one pod each."""
