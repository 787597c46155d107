# The verbs. CI calls only these. `make demo` and `make test` work from a fresh clone.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
# A real python3.12, uv and the project's tools come first for everything that a verb starts.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Without byte code every process compiles the libraries again.
unexport PYTHONDONTWRITEBYTECODE
SAM_VERSION := 1.170.0
# Nobody is told that a verb has run; where nobody can be, sam would wait for it.
export SAM_CLI_TELEMETRY ?= 0
SAM := uv tool run --quiet --python $(CURDIR)/$(BIN)/python --from aws-sam-cli==$(SAM_VERSION) sam
ENV ?= default
TESTS ?= tests local/tests
# Much of a test on the local host is waiting: three processes keep two cores busy. Each may take 5 GB with its host.
WORKERS ?= 3
# Of the unit tests those that start no process and train nothing; of these those that search no large spaces.
UNIT := judging handlers workflow_use_cases contract cost console service_adapters

.PHONY: help setup demo up example unit test rooms ordinary-user screenshots faults realworld readers bench check audit scan sam-local serving-stack record docs format lock build deploy changes smoke stack-drift teardown clean machines machines-are-written newest-ministack

ON_LINUX := demo up test screenshots faults realworld readers bench sam-local serving-stack record ordinary-user
ifneq ($(filter $(ON_LINUX),$(MAKECMDGOALS)),)
ifneq ($(shell uname -s),Linux)
$(error make $(firstword $(filter $(ON_LINUX),$(MAKECMDGOALS))) needs Linux: run it in a Linux container or virtual machine (on Windows in WSL 2), or use AWS by make deploy)
endif
endif

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@scripts/bootstrap.sh

demo: setup machines-are-written ## go from a dropped file to a prediction on this machine, then stop
	@dropforge demo

up: setup machines-are-written ## keep the same host running; Ctrl-C stops it, its state survives
	@dropforge up $(ARGS)

example: setup ## write the real table of an example and say how to train on it: make example NAME=text
	@UV_PROJECT_ENVIRONMENT=.dropforge/examples uv sync --quiet --frozen --only-group examples --no-install-project --python $(BIN)/python
	@python -m examples $(NAME)

unit: setup ## run the fast tests, in seconds
	@pytest -q -n 2 -m "not thorough" $(addprefix tests/unit/,$(UNIT))

test: setup ## run every test
	@scripts/find_chromium.sh >/dev/null
	pytest -c pyproject.toml -n $(WORKERS) --dist loadgroup $(TESTS)

ordinary-user: setup ## as root: run the demo and every test as a new user, with and without user namespaces
	@scripts/find_chromium.sh >/dev/null
	@scripts/ordinary_user.sh

screenshots: setup ## take pictures of every page of the console, to docs/images
	@python -m tests.browser.screenshots

faults: setup ## break every state of both machines, kill the host, drop 200 files; prints a table
	python -m tests.faults $(ARGS)

realworld: setup ## take real tables through prepare, train and gate, beside a plain baseline; prints a table
	@UV_PROJECT_ENVIRONMENT=.dropforge/realworld uv sync --quiet --frozen --only-group realworld --no-install-project --python $(BIN)/python
	python -m tests.realworld $(ARGS)

readers: setup ## read tables of many dialects beside pandas, polars and DuckDB; ARGS=--write for the table in docs
	@python -m tests.readers $(ARGS)

bench: setup ## measure preparation, drift, serving and more beside their peers; ARGS=--quick for a look
	python -m bench all $(ARGS)
	python -m bench.console_paint

check: setup ## check format, lint, types, import rules, template, state machines, prose
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m scripts.state_machines --check
	$(SAM) validate --lint
	scripts/lint_state_machines.sh
	python -m proof workflow
	python -m proof api
	scripts/check_requirements.sh
	scripts/lint_workflows.sh
	python -m scripts.reference --check
	python -m scripts.prose

docs: setup ## write docs/reference from the code, the template and the example events
	python -m scripts.reference

machines: setup ## write statemachine/*.asl.json, which is deployed, from the *.asl.yaml that you edit
	python -m scripts.state_machines

machines-are-written:
	@python -m scripts.state_machines --check

newest-ministack: setup ## print which names that the local host builds on the newest MiniStack lacks or has changed
	@python -m dropforge_local.newest_ministack $(ARGS)

rooms: setup ## print how many lines each room has, beside a commit: make rooms ARGS=v0.2.0
	@python -m scripts.rooms $(ARGS)

scan: setup ## scan the template (checkov, cfn-guard) and the dependencies; write bills of materials
	python -m scan

audit: setup ## compare what every role may do with what it needs; run the scans; price a month
	python -m proof iam
	python -m scan
	dropforge cost month

sam-local: build ## run every function in a container with every example event; SKIP where no engine can run
	python -m sam_local $(SAM_VERSION) $(ARGS)

serving-stack: setup ## serve a trained archive with SageMaker's own stack, beside the local model server
	@python -m serving_stack

record: setup ## run the workflow tests and keep what check and audit compare with
	python -m proof record

format: setup ## format the code, and fix what the linter can
	ruff format .
	ruff check --fix .

lock: setup ## resolve the dependencies again; export what the layers and an exported image install
	uv lock
	scripts/check_requirements.sh --write

build: setup machines-are-written ## run sam validate and sam build
	@python training/wheels.py lock
	$(SAM) validate --lint
	$(SAM) build

# The environment's parameters, those given on top, the release and the tags, as arguments of sam deploy.
SAM_DEPLOY = lines=$$(python scripts/deploy_parameters.py $(ENV) $(PARAMETERS)) && mapfile -t parameters <<<"$$lines" && \
  lines=$$(python scripts/deploy_parameters.py --tags $(ENV) $(PARAMETERS)) && mapfile -t tags <<<"$$lines" && \
  $(SAM) deploy --config-env $(ENV) --no-fail-on-empty-changeset --parameter-overrides "$${parameters[@]}" --tags "$${tags[@]}"
# Of the environment's stack on AWS, as deploy is, also while a local host runs for this folder.
ON_AWS = stack=$$(python scripts/environment_stack.py $(ENV)) && \
  region=$$(python -c 'import boto3; print(boto3.Session().region_name or str())') && \
  dropforge $(1) --stack "$$stack" --region "$$region" $(ARGS)

deploy: build ## deploy to AWS: make deploy ENV=dev PARAMETERS="TargetColumn=…"; CONFIRM=no asks nobody
	$(if $(filter no,$(MODEL_CHECK)),,@python scripts/check_model.py $(ENV) $(PARAMETERS))
	$(SAM_DEPLOY) $(if $(filter no,$(CONFIRM)),--no-confirm-changeset)

changes: build ## show what a deployment would change: its change set, not executed
	$(SAM_DEPLOY) --no-execute-changeset
	@echo "Each deployment renews the API's stage: its new and old deployment and the stage are in every change set."

smoke: setup ## check that a deployed environment works: its stack, endpoint, API, alarms
	@$(call ON_AWS,doctor)

stack-drift: setup ## find changes that somebody made to an environment's stack outside its template
	@python scripts/stack_drift.py $(ENV)

teardown: setup ## remove a stack and everything it made: make teardown ENV=dev ARGS=--keep-data
	@$(call ON_AWS,teardown)

clean: ## remove what the other targets made, except the local host's state
	rm -rf .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .dropforge/build .dropforge/unpacked
