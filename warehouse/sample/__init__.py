"""A Chatwoot database to try everything on, and the truth about what is in it."""

from warehouse.sample.generator import SampleState, create_sample, sample_state
from warehouse.sample.truth import Outcome
from warehouse.sample.world import SAMPLE_TENANTS, SECRET_MARKER, SampleTenant

__all__ = [
    "SAMPLE_TENANTS",
    "SECRET_MARKER",
    "Outcome",
    "SampleState",
    "SampleTenant",
    "create_sample",
    "sample_state",
]
