"""What requests to Claude have used: dollars, and tokens by kind, for each model. Pure."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

_OTHER = "other"
_MOST_MODELS = 20  # in one sum: nothing that a reply says makes a document grow


class Spent(BaseModel):
    """What requests to one model have used, as the gateway counted it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    model: str = Field(max_length=100)
    usd: float = Field(ge=0)
    requests: int = Field(default=1, ge=0)
    input: int = Field(default=0, ge=0)  # tokens, here and below
    output: int = Field(default=0, ge=0)
    cache_read: int = Field(default=0, ge=0)
    cache_write: int = Field(default=0, ge=0)
    searches: int = Field(default=0, ge=0)


def summed(entries: Iterable[Spent]) -> list[Spent]:
    """Add up what each model has used; the dearest comes first."""
    sums: dict[str, Spent] = {}
    for each in entries:
        model = each.model if each.model in sums or len(sums) < _MOST_MODELS else _OTHER
        sums[model] = _sum(model, sums[model], each) if model in sums else each.model_copy(update={"model": model})
    return sorted(sums.values(), key=lambda each: (-each.usd, each.model))


def dollars(entries: Iterable[Spent]) -> float:
    """Add up the dollars."""
    return sum(each.usd for each in entries)


def tokens_read(entries: Iterable[Spent]) -> int:
    """Add up the tokens that the models read, from a cache or not."""
    return sum(each.input + each.cache_read + each.cache_write for each in entries)


def tokens_written(entries: Iterable[Spent]) -> int:
    """Add up the tokens that the models wrote."""
    return sum(each.output for each in entries)


def _sum(model: str, one: Spent, other: Spent) -> Spent:
    return Spent(
        model=model,
        usd=one.usd + other.usd,
        requests=one.requests + other.requests,
        input=one.input + other.input,
        output=one.output + other.output,
        cache_read=one.cache_read + other.cache_read,
        cache_write=one.cache_write + other.cache_write,
        searches=one.searches + other.searches,
    )
