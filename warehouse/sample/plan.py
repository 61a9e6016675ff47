"""When and where which conversation begins: the daily and weekly rhythm of each business."""

from __future__ import annotations

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import accumulate

from warehouse.sample.scenarios import SCENARIOS, Scenario
from warehouse.sample.truth import local_time
from warehouse.sample.world import BUSINESSES, Business, Inbox

HISTORY = timedelta(days=184)


@dataclass(frozen=True, slots=True)
class Planned:
    """A conversation to be. `written_at` is later than `start` when a tool imported it."""

    start: datetime
    written_at: datetime
    business: Business
    inbox: Inbox
    scenario: Scenario


def plan_conversations(rng: random.Random, conversations: int, until: datetime) -> list[Planned]:
    """When and where which script is played, in the order the rows come to be.

    Every scenario is there at least once, early enough to be played to its end.
    """
    plan: list[Planned] = []
    rhythms = {business.name: Rhythm(rng, business, until) for business in BUSINESSES}
    for business, count in zip(
        BUSINESSES, _apportion([b.share for b in BUSINESSES], conversations), strict=True
    ):
        possible = [s for s in SCENARIOS if _has_room(business, s)]
        weights = [s.weight * business.mix.get(s.family, 1.0) for s in possible]
        for scenario, times in zip(possible, _apportion(weights, count), strict=True):
            for _ in range(times):
                plan.append(_planned(rng, rhythms[business.name], business, scenario))
    rng.shuffle(plan)
    played = Counter(planned.scenario.name for planned in plan)
    for scenario in SCENARIOS:
        if not played[scenario.name]:
            # In place of one that is common.
            common = played.most_common(1)[0][0]
            spare = next(n for n, planned in enumerate(plan) if planned.scenario.name == common)
            business = next(b for b in BUSINESSES if _has_room(b, scenario))
            plan[spare] = _planned(rng, rhythms[business.name], business, scenario)
            played[common] -= 1
            played[scenario.name] += 1
    _start_one_of_each_early(rng, plan, until)
    plan.sort(key=lambda planned: (planned.written_at, planned.start))
    return plan


def _planned(rng: random.Random, rhythm: Rhythm, business: Business, scenario: Scenario) -> Planned:
    inboxes = [inbox for inbox in business.inboxes if scenario.needs <= inbox.traits]
    inbox = rng.choices(inboxes, [inbox.share for inbox in inboxes])[0]
    start = rhythm.moment(rng, is_recent=scenario.is_recent)
    written_at = start
    if scenario.is_imported:
        written_at = max(start + timedelta(days=20), rhythm.until - timedelta(days=45))
        written_at = min(written_at, rhythm.until - timedelta(hours=1))
    return Planned(start, written_at, business, inbox, scenario)


def _start_one_of_each_early(rng: random.Random, plan: list[Planned], until: datetime) -> None:
    earliest: dict[str, int] = {}
    for number, planned in enumerate(plan):
        so_far = earliest.setdefault(planned.scenario.name, number)
        if planned.start < plan[so_far].start:
            earliest[planned.scenario.name] = number
    for number in earliest.values():
        planned = plan[number]
        ahead = until - planned.start
        wanted = timedelta(days=5) if planned.scenario.is_recent else timedelta(days=40)
        if ahead < wanted:
            start = planned.start - timedelta(weeks=-(-(wanted - ahead) // timedelta(weeks=1)))
            written_at = planned.written_at if planned.scenario.is_imported else start
            plan[number] = replace(planned, start=start, written_at=written_at)


def _has_room(business: Business, scenario: Scenario) -> bool:
    return any(scenario.needs <= inbox.traits for inbox in business.inboxes)


def _apportion(weights: Sequence[float], total: int) -> list[int]:
    """`total` split by weight, largest remainders first."""
    scale = total / sum(weights)
    exact = [weight * scale for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda n: (counts[n] - exact[n], n))
    for n in by_remainder[: total - sum(counts)]:
        counts[n] += 1
    return counts


# Days on which hardly anybody works, as (month, day).
HOLIDAYS = {(1, 1), (4, 21), (5, 1), (9, 7), (10, 12), (11, 2), (11, 15), (11, 20), (12, 25)}


class Rhythm:
    """How likely a contact is to write to a business in each hour of its history."""

    def __init__(self, rng: random.Random, business: Business, until: datetime) -> None:
        self.until = until
        self._began = until - HISTORY
        noise: dict[date, float] = defaultdict(lambda: rng.lognormvariate(0, 0.16))
        weights = []
        for hour in range(HISTORY // timedelta(hours=1)):
            local = local_time(business.timezone, self._began + timedelta(hours=hour))
            age = hour / (HISTORY / timedelta(hours=1))
            weight = 1 + (business.growth - 1) * age
            peak_at, peak_days, peak_factor = business.peak
            if 0 <= age - peak_at < timedelta(days=peak_days) / HISTORY:
                weight *= peak_factor
            if (local.month, local.day) in HOLIDAYS:
                weight *= 0.3
            weight *= business.weekdays[local.weekday()] * noise[local.date()]
            weights.append(weight * (0.08 + int(business.hours[local.hour])))
        self._cumulative = list(accumulate(weights))

    def moment(self, rng: random.Random, is_recent: bool = False) -> datetime:
        """When somebody writes; a recent one in the last three weeks."""
        low = self._cumulative[-21 * 24] if is_recent else 0.0
        hour = bisect(self._cumulative, low + rng.random() * (self._cumulative[-1] - low))
        return self._began + timedelta(
            hours=min(hour, len(self._cumulative) - 1), microseconds=rng.randrange(3_600_000_000)
        )
