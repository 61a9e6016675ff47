"""Being built."""

import streamlit as st

from dashboard import filters, frame
from dashboard.auth import Visit


def show(visit: Visit) -> None:
    """Draw the page."""
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    chosen = filters.choose(visit, coverage["first_date"])
    st.write("channels", str(chosen))
