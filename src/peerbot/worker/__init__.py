"""The worker: one run of one conversation. Read `app.py` first."""
