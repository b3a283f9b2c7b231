"""The dispatcher receives, records, places and watches. Read `app.py` first."""
