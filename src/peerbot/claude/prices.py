"""The approximate cost of a request to a model: list prices by model family, for the budget of a turn.

Approximate on purpose, and PeerBot says so: prices change, this module knows no discounts, and Anthropic writes the
bill. An unknown model counts as the most expensive one, so that a budget ends too early rather than too late.
"""

from dataclasses import dataclass

# US dollars for a million tokens: (input, output), by a part of the model's name. The longest match holds, so that a
# new version of a family needs no new line. If versions of a family differ a little, the dearer one stands here.
_PRICES = {
    "fable": (10.0, 50.0),
    "mythos": (10.0, 50.0),
    "opus": (5.0, 25.0),
    "opus-4-0": (15.0, 75.0),
    "opus-4-1": (15.0, 75.0),
    "opus-4-2025": (15.0, 75.0),  # Opus 4 by its date
    "3-opus": (15.0, 75.0),
    "sonnet": (3.0, 15.0),
    "haiku": (1.0, 5.0),
}
_DEAREST = max(_PRICES.values())

# The cost of a cached token, in input tokens.
CACHE_WRITE_5M = 1.25
CACHE_WRITE_1H = 2.0
_CACHE_READ = 0.1

SEARCH_USD = 0.01
"""The price of one web search. What it brings counts as input, too."""

# The relay refuses requests for these, but a workspace of the Claude Console may have them as its default.
FAST = 6.0
ONE_COUNTRY = 1.1


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that one request used, and the searches. `factor`: what their price is multiplied by."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    searches: int = 0
    factor: float = 1.0


def cost_usd(models: tuple[str, ...], tokens: Tokens) -> float:
    """Say about how much it cost, in US dollars, if any of `models` did it: the one asked, and the one that replied."""
    per_input, per_output = max(filter(None, map(_price, models)), default=_DEAREST)
    inputs = (
        tokens.input
        + tokens.cache_read * _CACHE_READ
        + tokens.cache_write_5m * CACHE_WRITE_5M
        + tokens.cache_write_1h * CACHE_WRITE_1H
    )
    return (inputs * per_input + tokens.output * per_output) * tokens.factor / 1_000_000 + tokens.searches * SEARCH_USD


def _price(model: str) -> tuple[float, float] | None:
    family = max((part for part in _PRICES if part in model), key=len, default=None)
    return _PRICES[family] if family else None
