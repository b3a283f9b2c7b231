"""GitHub: repositories, branches, pull requests, credentials."""
