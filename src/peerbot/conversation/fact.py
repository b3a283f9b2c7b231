"""The base of all notes (`conversation/notes.py`). Pure."""

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    """A fact that a turn tells people besides the agent's own words."""

    model_config = ConfigDict(frozen=True)
