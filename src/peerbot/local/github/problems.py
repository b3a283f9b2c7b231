"""The refusals of the local GitHub's REST API, in GitHub's own words."""

from peerbot.local.github.shapes import Json, problem


class Problem(Exception):
    """GitHub's refusal of a request: a status and an error document."""

    def __init__(
        self, status: int, message: str, errors: list[Json] | None = None, *, location: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"Location": location} if location else {}
        self.document = problem(status, message, errors)


def invalid(resource: str, code: str, *, field: str | None = None, message: str | None = None) -> Problem:
    """A 422: GitHub understood the request and can't do it."""
    error = {"resource": resource, "code": code, "field": field, "message": message}
    return Problem(422, "Validation Failed", [{key: value for key, value in error.items() if value is not None}])
