"""Finds lost and doubled messages from outside: in the journal's objects and, with a token, in Slack's threads."""
