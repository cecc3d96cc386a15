# Every target creates .venv and installs what it needs. DEMO_ARGS, UP_ARGS and TEST_ARGS pass arguments through.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := embedded,build,recipes,stores,mlflow,postgres,loadtest,dev

.PHONY: help install demo up test lint proto recipes gpu-check bench peers chaos kills overload rollouts
.DEFAULT_GOAL := help

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## create .venv with everything, at the locked versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python {v[0]}.{v[1]} found, 3.11 or newer expected: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@# Not into the environment: they are one package of two versions, and without TensorRT's libraries no import works.
	for version in 12_bindings==10.16.1.11:10 13_bindings==11.4.0.106:11; do \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
			--target $(VENV)/tensorrt/$${version#*:} tensorrt_cu$${version%:*} || exit 1; done
	@# MLflow's server, for the tests: what it needs beyond its own code is in the environment already.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --constraint constraints.txt \
		--target $(VENV)/mlflow mlflow
	touch $(STAMP)

demo: install ## train, build, serve, canary, rollback, SLO gate (DEMO_ARGS=--exit leaves at the end)
	$(BIN)/penstock demo $(DEMO_ARGS)

up: install ## Triton, controller and gateway on this machine
	$(BIN)/penstock up $(UP_ARGS)

lint: install ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Unit tests share the cores. The others start processes and mostly wait for them: two side by side, but never two that
# measure time.
test: lint ## lint, types, import contracts and all tests
ifdef TEST_ARGS
	$(BIN)/pytest $(TEST_ARGS)
else
	$(BIN)/pytest -q -n auto tests/unit
	$(BIN)/pytest -q -n 2 --dist loadgroup tests/integration tests/e2e
endif

proto: install ## generate services/pb from proto/
	$(BIN)/python -m grpc_tools.protoc --proto_path=services/pb=proto --python_out=. --pyi_out=. --grpc_python_out=. services/pb/penstock/v1/feedback.proto services/pb/penstock/v1/outcomes.proto services/pb/penstock/v1/routes.proto services/pb/penstock/v1/rollouts.proto services/pb/penstock/v1/statistics.proto

recipes: install ## train and build every recipe, serve it, compare the answers with PyTorch's
	RECIPES=all $(BIN)/pytest -q -s tests/e2e/test_recipes.py

gpu-check: install ## build, compare and time engines of every precision on this machine's GPU
	@$(BIN)/python -m enginebuild.targets.tensorrt.gpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'tensorrt>=10.9,<12'
	$(BIN)/pytest -q -s -m gpu tests/gpu

bench: install ## gateway against Triton direct, in one run
	$(BIN)/python -m loadtest.bench $(BENCH_ARGS)

peers: install ## gateway against MLServer, LitServe, BentoML, Ray Serve and Envoy, in one run
	$(BIN)/python -m loadtest.peers $(PEERS_ARGS)

chaos: install ## three Tritons, killed and frozen under load
	$(BIN)/python -m loadtest.chaos $(CHAOS_ARGS)

kills: install ## controllers killed at every transition, on SQLite and PostgreSQL
	$(BIN)/python -m loadtest.controller_kills $(KILLS_ARGS)

overload: install ## ten times the load that a model can carry
	$(BIN)/python -m loadtest.overload $(OVERLOAD_ARGS)

rollouts: install ## same and worse candidates: simulated by the thousand, then live (SIMULATED_ARGS, LIVE_ARGS)
	$(BIN)/python -m loadtest.rollouts $(SIMULATED_ARGS)
	$(BIN)/python -m loadtest.live_rollouts $(LIVE_ARGS)
