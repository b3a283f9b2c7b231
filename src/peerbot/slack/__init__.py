"""Every format of Slack's: events and sockets in; texts, cards, answers and calls out; who people are."""
