"""Slack: what comes in, who may ask, what people see."""
