"""A password before the pages, where whoever started them asked for one."""

import hmac
import os
import threading
import time

import streamlit as st

PASSWORD = "CXR_LDM_PASSWORD"  # of the environment; cxr-ldm app app.password=… sets it
PAUSE = 1.0  # seconds after a wrong one, so that guessing takes long
WRONG = threading.Lock()  # held meanwhile, so that guessing in many sessions at once takes as long


def admitted() -> bool:
    """Whether this visitor may see the pages: nobody asked for a password, or it was given."""
    wanted = os.environ.get(PASSWORD)
    if wanted is None or st.session_state.get("admitted"):
        return True
    if not wanted:
        st.error(f"The page was started with an empty password ({PASSWORD}), and stays closed.")
        return False
    given = st.text_input("Password", type="password", key="password")
    if not given:
        return False
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        with WRONG:
            time.sleep(PAUSE)
        st.error("This is not the password.")
        return False
    st.session_state["admitted"] = True
    st.rerun()
