"""Rewards: definitions for admins, and the rewards that can be redeemed now (contract §6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import (
    IS_ACTIVE,
    PAGE,
    Id,
    MessageAnswer,
    Moment,
    Parameter,
    describe,
    shown,
)
from api.http.problems import Problem, invalid_field
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.field_types import Bound
from api.input.validation import Body, Code, Fixed, Name, Text, body, page_window
from api.resources.definitions.badges import IconUrl
from api.resources.definitions.crud import (
    DefinitionAnswer,
    Managed,
    check_window,
    check_window_change,
    tenant_shown,
)
from models.definitions import rewards
from models.definitions.rewards import Reward, Stock
from models.errors import OutOfStock

blueprint = Blueprint("rewards", __name__)

COST_MAX = 1_000_000_000
TYPE_CHARS_MAX = 50

Cost = Annotated[int, Field(ge=0, le=COST_MAX)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Limit = Annotated[int, Field(ge=1, le=1_000_000)]
RewardType = Annotated[Name, StringConstraints(max_length=TYPE_CHARS_MAX)]

# -- definitions -----------------------------------------------------------------------------


class NewReward(Body):
    """A definition to create."""

    code: Code
    name: Name
    description: Text | None = None
    image_url: IconUrl | None = None
    type: RewardType = "digital"
    points_cost: Cost = 0
    stock: Count | None = None
    max_claims_per_user: Limit | None = 1
    starts_at: Bound | None = None
    ends_at: Bound | None = None
    is_active: bool = True


class RewardChange(NewReward):
    """The changeable fields of a definition; fields that are not given keep their values."""

    code: Fixed = None  # the ledger refers to it
    name: Name = ""


class RewardDefinition(DefinitionAnswer):
    """A definition as admins see it, with the stock left."""

    image_url: str | None
    type: str
    points_cost: int
    stock: int | None
    claimed: int
    available: int | None
    max_claims_per_user: int | None
    starts_at: Moment | None
    ends_at: Moment | None
    is_active: bool
    created_at: Moment
    updated_at: Moment


class RewardPage(TypedDict):
    """A page of definitions."""

    items: list[RewardDefinition]
    total: int
    page: int
    page_size: int


_REWARDS = Managed("reward", rewards.definitions)
_NO_STOCK = Stock(None, 0)


@blueprint.get("/admin/rewards")
@describe("List rewards", answers={200: RewardPage}, parameters=(*PAGE, IS_ACTIVE))
@require_admin
def list_rewards() -> Response:
    """A page of the tenant's rewards by code."""
    page = _REWARDS.page()
    with reading() as connection:
        stocks = rewards.stocks(connection, tenant().id, [reward.id for reward in page.found])
    return page.answer(
        [_definition(reward, stocks.get(reward.id, _NO_STOCK)) for reward in page.found]
    )


@blueprint.post("/admin/rewards")
@describe(
    "Create a reward",
    answers={201: RewardDefinition},
    body=NewReward,
    example={
        "code": "ten_percent_off",
        "name": "10% Off Coupon",
        "description": "10% discount on the next purchase",
        "type": "coupon",
        "points_cost": 50,
        "stock": 45,
        "max_claims_per_user": 3,
    },
    problems=("reward_code_conflict",),
)
@require_admin
def create_reward() -> Response:
    """Create a reward. Without `stock` it is unlimited."""
    new = body(NewReward)
    check_window(new)
    values = new.model_dump()
    stock = values.pop("stock")
    with _REWARDS.creating(new.code) as connection:
        reward = _REWARDS.create(connection, values, new)
        rewards.set_stock(connection, tenant().id, reward.id, stock)
    return answer(_definition(reward, Stock(stock, 0)), 201)


@blueprint.get("/admin/rewards/<reward_id>")
@describe("Get a reward", answers={200: RewardDefinition}, problems=("reward_not_found",))
@require_admin
def get_reward(reward_id: str) -> Response:
    """One definition, and the stock left."""
    reward = _REWARDS.find(reward_id)
    return answer(_definition(reward, _stock(reward.id)))


@blueprint.patch("/admin/rewards/<reward_id>")
@describe(
    "Change a reward",
    answers={200: RewardDefinition},
    body=RewardChange,
    example={"points_cost": 400, "stock": 100},
    problems=("reward_not_found", "no_fields_to_update"),
)
@require_admin
def change_reward(reward_id: str) -> Response:
    """Change the given fields; `stock` is the total number, including redeemed ones."""
    before = _REWARDS.find(reward_id)
    given = body(RewardChange).model_dump(exclude_unset=True)
    check_window_change(before, given)
    try:
        reward = _change(before, given)
    except OutOfStock:
        message = "must be at least as many as were claimed"
        raise invalid_field("stock", "range", message) from None
    return answer(_definition(reward, _stock(reward.id)))


@blueprint.delete("/admin/rewards/<reward_id>")
@describe("Deactivate a reward", answers={200: MessageAnswer}, problems=("reward_not_found",))
@require_admin
def deactivate_reward(reward_id: str) -> Response:
    """Stop new redemptions; past ones stay."""
    _REWARDS.change(reward_id, {"is_active": False})
    return answer(MessageAnswer(message="Reward deactivated"))


def _change(before: Reward, given: Mapping[str, Any]) -> Reward:
    values = {name: value for name, value in given.items() if name != "stock"}
    with _REWARDS.revising(before, given) as connection:
        if "stock" in given:
            rewards.set_stock(connection, tenant().id, before.id, given["stock"])
        return rewards.definitions.revise(connection, before, values)


def _stock(reward_id: UUID) -> Stock:
    with reading() as connection:
        return rewards.stocks(connection, tenant().id, [reward_id]).get(reward_id, _NO_STOCK)


def _definition(reward: Reward, stock: Stock) -> RewardDefinition:
    return shown(
        RewardDefinition,
        reward,
        tenant_id=tenant_shown(),
        stock=stock.stock,
        claimed=stock.claimed,
        available=stock.left,
    )


# -- redeemable rewards ----------------------------------------------------------------------


class AvailableReward(TypedDict):
    """A reward that is open now; with `available` 0 it is out of stock."""

    id: Id
    code: str
    name: str
    type: str
    description: str | None
    image_url: str | None
    points_cost: int
    available: int | None
    max_claims_per_user: int | None
    starts_at: Moment | None
    ends_at: Moment | None


class AvailableRewards(TypedDict):
    """A page of rewards that are open now."""

    rewards: list[AvailableReward]
    total: int
    page: int
    page_size: int


@blueprint.get("/rewards")
@describe(
    "List the rewards that are open for redemption",
    answers={200: AvailableRewards},
    parameters=(
        *PAGE,
        Parameter(
            "reward_type",
            {"type": "string", "minLength": 1, "maxLength": TYPE_CHARS_MAX},
            "Only those of this type.",
        ),
    ),
)
def available_rewards() -> Response:
    """The active rewards whose window is open, by code."""
    window = page_window()
    kind = _type_in_query()
    with reading() as connection:
        found, total = rewards.open_now(connection, tenant().id, kind, window.slice)
        stocks = rewards.stocks(connection, tenant().id, [reward.id for reward in found])
    available = [
        shown(AvailableReward, reward, available=stocks.get(reward.id, _NO_STOCK).left)
        for reward in found
    ]
    return window.answer(available, total, "rewards")


def _type_in_query() -> str | None:
    text = request.args.get("reward_type")
    if text is not None and not (0 < len(text) <= TYPE_CHARS_MAX and text.isprintable()):
        raise _bad_type()
    return text


def _bad_type() -> Problem:
    return invalid_field("reward_type", "text", f"must be 1 to {TYPE_CHARS_MAX} characters")
