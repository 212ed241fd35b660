"""The web page: `streamlit run cxr_ldm/app/main.py`. It shows what pipeline, imaging, data and metrics do."""
