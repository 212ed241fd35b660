# make install | app | docs | demo | demo-model | test | test-latest | campaign. All but test-latest set up .venv on their first
# run and reuse it afterwards.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install app docs demo demo-model test test-latest campaign
install: .venv/base.stamp

.venv/base.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]"
	touch $@

.venv/test.stamp: .venv/base.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

.venv/docs.stamp: .venv/base.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

# Opens with the model of the package; what is below outputs/ stands in its lists.
app: install
	$(BIN)/streamlit run cxr_ldm/app/main.py

# The docs as a site, into build/site; what is wrong in them ends it.
docs: .venv/docs.stamp
	$(BIN)/python docs/build.py

demo: install
	$(BIN)/python train.py stage=vae
	$(BIN)/python train.py stage=ldm
	$(BIN)/python evaluate.py stage=vae
	$(BIN)/python evaluate.py stage=ldm
	$(BIN)/python sample.py prompt="Normal chest X-ray, clear lungs (no effusion)." n=4 seed=0
	$(BIN)/python sample.py prompt="Large right pleural effusion." n=4 seed=0

# The model that comes with the package, made anew.
demo-model: install
	$(BIN)/python train.py stage=vae experiment=demo_model
	$(BIN)/python train.py stage=ldm experiment=demo_model
	rm -rf cxr_ldm/assets/demo outputs/evaluation/demo_model outputs/evaluation/demo_model_guidance
	$(BIN)/python evaluate.py stage=ldm experiment=demo_model metrics=guidance name=demo_model_guidance
	$(BIN)/python -m cxr_ldm.export experiment=demo_model guidance=outputs/evaluation/demo_model_guidance out=cxr_ldm/assets/demo
	$(BIN)/python evaluate.py stage=ldm experiment=demo_model bundle=cxr_ldm/assets/demo name=demo_model page=docs/results/demo_model.md
	cp outputs/evaluation/demo_model/metrics.json cxr_ldm/assets/demo_metrics.json

# In the order of the folders, so that what takes long comes first and neither process waits at the end. A process that dies
# ends the run: its tests handed to another one would wait for ever (pytest-xdist, --dist loadfile).
test: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

# The newest version of every library, in an environment of its own; PYTHON=python3.13 takes another Python.
test-latest:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade --editable ".[test]"
	OMP_NUM_THREADS=1 .venv-latest/bin/python -m tests.latest

# What takes hours: kills, damaged files, faults put into the code. Its pages say when they were written.
campaign: .venv/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 1 -m "campaign or fuzz" tests
	$(BIN)/python -m cxr_ldm.benchmark suite=faults page=docs/results/faults.md
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py page=docs/results/mutants.md
