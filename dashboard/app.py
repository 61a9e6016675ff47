"""What Streamlit runs at each visit: who is asking, the frame of the page, the page itself."""

import streamlit as st

from dashboard import frame, navigation, saved, state
from dashboard.auth import SessionEndedError, cookie_name


def main() -> None:
    """Run the page the address names, for the session the cookie names."""
    dashboard = state.current()
    st.set_page_config(page_title=dashboard.brand_name, layout="wide")
    try:
        # The cookie is the one of the websocket's opening; whether it still counts is asked here.
        token = st.context.cookies.get(cookie_name(secure=dashboard.cookie_secure))
        visit = dashboard.sessions.visit(token)
        page = st.navigation(navigation.pages(visit), position="hidden")
        frame.header(visit, dashboard.brand_name)
        here = navigation.at(page.url_path)
        st.set_page_config(page_title=f"{here.title} · {dashboard.brand_name}")
        with navigation.menu(visit, here):
            saved.menu(visit, here)
        with frame.loading():
            page.run()
    except SessionEndedError:
        frame.session_ended()


main()
