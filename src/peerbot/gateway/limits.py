"""The limits of a run: what its worker is told to keep to."""

from dataclasses import dataclass

from peerbot.conversation.documents import Held


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a run."""

    turn_seconds: float
    idle_seconds: float
    run_seconds: float
    budget_usd: float
    checkpoint_seconds: float
    model_kind: str  # "claude" or "demo"
    server_tools: frozenset[str] = frozenset()
    question_seconds: float = 0.0
    network: str = ""  # what runs reach

    def held(self, model: str) -> Held:
        """Note what a run keeps to, for people to see."""
        return Held(model=model, budget_usd=self.budget_usd, turn_seconds=self.turn_seconds, network=self.network)
