# Everything a newcomer needs: demo, lab, test, bench. Each sets up .venv by itself.
SHELL := /bin/bash
PYTHON ?= python3
# Processes that run tests side by side; many of these wait for other processes most of the time.
WORKERS ?= 2
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo lab test lint test-python test-frontend test-browser test-networks test-long test-net test-containers images fuzz bench bench-peers papers bundle wheel clean

help:
	@echo "make demo    train on real data across three nodes on this machine"
	@echo "make lab     the same federation, with JupyterLab open on it"
	@echo "make test    everything CI runs"
	@echo "make bench   benchmarks, also against other frameworks, JSON under .bench/; BENCH_QUICK=1 for less"
	@echo "make images  container images with podman, and their sizes; docs/deployment.md"
	@echo "make papers  the papers' rules and attacks measured again, docs/results; QUICK=1 for less"
	@echo "make setup   only the environment (.venv)"

setup: .venv/.installed

# The front end is not built here: only `lab`, `test` and a wheel need it (and Node).
.venv/.installed: pyproject.toml constraints.txt
	@# `jupyter-builder develop` leaves a copy in the bundle, and a wheel may hold it only once.
	@rm -f flaas_jupyter/labextension/install.json
ifdef UV
	test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv
	SKIP_JUPYTER_BUILDER=1 uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[test]"
else
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	SKIP_JUPYTER_BUILDER=1 $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
endif
	@touch $@

demo: setup
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/flaas demo

lab: setup bundle
	@$(BIN)/flaas lab

# ---- front end ----------------------------------------------------------------------------------
FRONTEND := $(shell find labextension/src labextension/style labextension/schema -type f 2>/dev/null) \
            package.json labextension/tsconfig.json

bundle: .venv/.bundle

node_modules/.installed: package.json yarn.lock | setup
	jlpm install --immutable
	@touch $@

.venv/.bundle: $(FRONTEND) node_modules/.installed | setup
	jlpm build
	jupyter-builder develop . --overwrite
	@touch $@

# ---- checks -------------------------------------------------------------------------------------
test: setup bundle
	$(MAKE) -j 2 -O lint test-frontend
	$(MAKE) test-python test-browser test-networks

lint: setup node_modules/.installed
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	jlpm lint:check

test-frontend: node_modules/.installed
	jlpm test

test-python: setup bundle
	$(BIN)/python tests/postgresql.py
	$(BIN)/python tests/azurite.py
	$(BIN)/python -m pytest -m "not browser and not long and not containers and not net" -n $(WORKERS) --dist loadfile

# What takes minutes on every core: failures of clouds one by one, the effects that papers have published, memory.
test-long: setup bundle
	$(BIN)/python tests/postgresql.py
	$(BIN)/python tests/azurite.py
	$(BIN)/python tests/browser/browser.py
	$(BIN)/python tests/browser/hub.py
	$(BIN)/python -m pytest -m "long and not net" -n $(WORKERS) --dist loadfile

# Networks of namespaces, with NATs, firewalls and proxies: as root, with iproute2 and nftables; else they are skipped.
# They measure time, so nothing runs beside them. `make test` has those that every change should pass, test-net all.
test-networks: setup
	$(BIN)/python tests/net/namespaces.py
	$(BIN)/python -m pytest tests/net -m "not long"

test-net: setup
	$(BIN)/python tests/net/namespaces.py
	$(BIN)/python -m pytest tests/net

test-browser: setup bundle
	$(BIN)/python tests/browser/browser.py
	$(BIN)/python -m pytest -m "browser and not long" -n $(WORKERS) --dist loadfile

# Requests made from the API's own description, what peers and strangers can send to a mesh and a relay (atheris for
# each target, hypothesis for the relay's sockets), for longer than the tests do; FLAAS_FUZZ_SECONDS says how long each.
fuzz: setup
	FLAAS_FUZZ_SECONDS=$${FLAAS_FUZZ_SECONDS:-600} $(BIN)/python -m pytest tests/coordination/test_schemathesis.py \
	  tests/fuzz tests/communications/relay/test_relay_fuzz.py --timeout 0

bench: setup
	@mkdir -p .bench
	$(BIN)/python -m pytest benchmarks -q --benchmark-json=.bench/benchmarks.json
	$(MAKE) bench-peers

# Only the comparison with Flower, pfl-research, FedJAX and FedML, each in an environment of its own; BENCH_QUICK=1 is
# one repetition instead of three. More options: python benchmarks/peers/compare.py --help
bench-peers: setup
	$(BIN)/python benchmarks/peers/compare.py
	$(BIN)/python benchmarks/peers/secagg.py

# Goes on where it was interrupted; FLAAS_DATA names a folder with mnist/ and fashion-mnist/, otherwise Keras loads them.
papers: setup
	$(BIN)/python -m benchmarks.papers.run
	$(BIN)/python -m benchmarks.papers.report

# ---- containers -----------------------------------------------------------------------------------------------------
# BASE=… another base image; WHEEL=dist takes the wheel of `make wheel`; BUILD_OPTIONS="--secret id=ca,src=…" and others,
# see deploy/Containerfile.
CONTAINERS ?= podman
WHEEL ?= source
VERSION := $(shell sed -n 's/^  "version": "\(.*\)",/\1/p' package.json)

images:
	set -e; for target in api node node-lab relay; do \
	  $(CONTAINERS) build $(if $(findstring podman,$(CONTAINERS)),--format docker --ignorefile .containerignore) \
	    --file deploy/Containerfile --target $$target --tag localhost/flaas-$$target:$(VERSION) \
	    --build-arg WHEEL=$(WHEEL) $(if $(BASE),--build-arg BASE=$(BASE)) $(BUILD_OPTIONS) .; \
	done
	@$(CONTAINERS) images --filter reference='localhost/flaas-*:$(VERSION)' --format '{{.Repository}}:{{.Tag}} {{.Size}}'

# Builds the images, runs them, and starts the federation of deploy/compose.yaml; needs podman and root.
test-containers: setup
	$(BIN)/python tests/deploy/helm.py
	$(BIN)/python -m pytest tests/deploy

wheel: setup
	@rm -f flaas_jupyter/labextension/install.json
	$(BIN)/python -m build

clean:
	rm -rf .venv node_modules .bench dist flaas_jupyter/labextension flaas_jupyter/_version.py labextension/lib
