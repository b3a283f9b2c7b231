"""Whether anything was lost or doubled, seen from outside: the journal's objects and, with a token, Slack's threads."""
