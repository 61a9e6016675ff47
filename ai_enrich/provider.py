"""The provider outside: where it is, what it costs (one file of prices), what it may cost."""

import tomllib
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ai_enrich.prompt import ANSWER_TOKENS, Question, Usage
from warehouse.errors import UsageError
from warehouse.settings import Settings

NAME = "openai"
PRICES = Path(__file__).with_name("prices.toml")
MILLION = Decimal(1_000_000)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: Decimal = Field(ge=0)
    cached_input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens of one model; `share` of it is paid (batches: less than 1)."""

    input: Decimal
    cached_input: Decimal
    output: Decimal
    batch_share: Decimal
    parameters: dict[str, Any] = field(default_factory=dict)
    share: Decimal = Decimal(1)

    def cost(self, usage: Usage) -> Decimal:
        """What an answer costs."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        return (
            fresh * self.input
            + usage.cached_tokens * self.cached_input
            + usage.completion_tokens * self.output
        ) * self.share / MILLION  # fmt: skip

    def most(self, question: Question) -> Decimal:
        """What a question costs at most: what is reserved before it is asked."""
        return self.cost(Usage(question.most_input_tokens, 0, ANSWER_TOKENS))


def price_of(model: str, path: Path | None = None) -> Price:
    """The price of `model` in the file. Raises UsageError naming what is missing or wrong."""
    path = path or PRICES
    try:
        content = tomllib.loads(path.read_text())
        if model not in content:
            raise UsageError(
                f"MIRANTE_OPENAI_MODEL {model!r} has no price in {path.name}: "
                "give a file that has one in MIRANTE_AI_PRICES (see docs/ai_providers.md)"
            )
        entry = _Entry.model_validate(content[model])
        return Price(
            entry.input, entry.cached_input, entry.output,
            Decimal(str(content.get("batch_share", 1))), entry.parameters,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"MIRANTE_AI_PRICES: {path}: {error.strerror}") from None
    except (ValidationError, ValueError, ArithmeticError) as error:
        raise UsageError(
            f"MIRANTE_AI_PRICES: {path} is not a file of prices: {str(error).splitlines()[0]}"
        ) from None


@dataclass(frozen=True)
class Provider:
    """Where to ask, with what, how fast, and for how much money. `repr` shows no key."""

    api_key: SecretStr
    base_url: str
    model: str
    price: Price
    concurrency: int
    requests_per_minute: int
    tokens_per_minute: int
    timeout_seconds: float
    budget_usd: Decimal
    request_days: int
    folder: Path

    @classmethod
    def from_settings(cls, settings: Settings) -> "Provider | None":
        """The provider of the settings, None without a key. Raises UsageError without a price."""
        if settings.openai_api_key is None:
            return None
        return cls(
            api_key=settings.openai_api_key,
            base_url=settings.openai_base_url,
            model=settings.openai_model,
            price=price_of(settings.openai_model, settings.ai_prices),
            concurrency=settings.ai_concurrency,
            requests_per_minute=settings.ai_requests_per_minute,
            tokens_per_minute=settings.ai_tokens_per_minute,
            timeout_seconds=settings.ai_timeout_seconds,
            budget_usd=settings.ai_budget_usd,
            request_days=settings.ai_request_days,
            folder=settings.home / "batches",
        )

    def batched(self) -> "Provider":
        """The same, at the price of the batch interface."""
        return replace(self, price=replace(self.price, share=self.price.batch_share))
