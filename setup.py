"""What pyproject.toml cannot say: conf/ stands at the top of the repository and is installed as cxr_ldm.conf."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cxr_ldm", "cxr_ldm.*"]), "cxr_ldm.conf"],
    package_dir={"cxr_ldm.conf": "conf"},
)
