# Hearthmail. `make help` lists the targets.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
# Containers with systemd and their own networks need root.
SUDO := $(if $(filter-out 0,$(shell id -u)),tools/as_root.sh)
VENV := $(CURDIR)/.venv/bin
export PATH := $(VENV):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Compiled once: Ansible then starts in half the time, and the tests start it a hundred times.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pyc
# The lab's nodes are set up by Mitogen's strategies: that these are none of Ansible's own is said at each run otherwise.
export ANSIBLE_DEPRECATION_WARNINGS := false
export ANSIBLE_FORCE_COLOR := $(if $(CI),,$(if $(NO_COLOR),,1))
LAB := $(SUDO) $(VENV)/ansible-playbook -i inventories/lab

.PHONY: help bootstrap venv lab lab-new-home deploy demo demo-down test lint unit molecule drill bench bench-ddns agent vault kit kit-open pins docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bootstrap: ## Install what is missing: podman and others by apt, Python's tools into .venv
	@tools/bootstrap.sh

venv: ## Only the tools to deploy a real home, into .venv
	@tools/bootstrap.sh venv

demo: bootstrap ## The whole thing in containers: an internet, an ISP, a home; mail flows, a table shows it
	@echo "== 1/3 Starting the lab: an internet, an ISP, a bare home box (the first time 5 minutes, then 2)"
	$(LAB) molecule/shared/create.yml
	echo "== 2/3 Deploying the home box with playbooks/site.yml, as a real home (1 to 2 minutes)"
	$(LAB) playbooks/site.yml
	echo "== 3/3 Sending mail in every direction"
	$(SUDO) $(VENV)/python tools/demo.py

demo-down: ## Remove the lab's containers and networks (images stay for the next time: `make clean` removes them)
	@$(LAB) molecule/shared/destroy.yml

lab: bootstrap ## Start the lab with a bare home box
	@$(LAB) molecule/shared/create.yml

lab-new-home: ## Throw the lab's home box away, disk and all; a bare one takes its place
	@$(LAB) molecule/shared/home.yml

deploy: ## Deploy the lab's home box once more
	@$(LAB) playbooks/site.yml

test: bootstrap ## Lint, unit tests, every molecule scenario; ends with `N passed, N failed`
	@$(SUDO) $(VENV)/python tools/run_tests.py

lint: bootstrap ## ansible-lint, yamllint, ruff, mypy, roles' defaults against their specifications
	@$(VENV)/python tools/run_tests.py lint

unit: bootstrap ## The tests that need no containers
	@$(VENV)/python -m pytest tests/unit -n auto

molecule: bootstrap ## Every molecule scenario
	@$(SUDO) $(VENV)/python tools/run_tests.py molecule

drill: bootstrap ## The drills in their long form: every process in turn, 100,000 messages; a table and build/drills.json
	@$(SUDO) HEARTH_DRILL=long HEARTH_STRATEGY=linear $(VENV)/python tools/run_tests.py drill

bench: bootstrap ## Measure: time to deploy, DNS, memory, throughput; a table and build/bench.json
	@$(SUDO) $(VENV)/python tools/bench.py

bench-ddns: bootstrap ## Measure how soon the world knows a new address, by our agent and by others; a table and build/bench-ddns.json
	@$(SUDO) $(VENV)/python tools/bench_ddns.py $(BENCH)

agent: venv ## Build the DNS agent as one file: build/hearth-ddns
	@$(VENV)/python tools/build_agent.py

vault: venv ## Make the encrypted file of a site's secrets: make vault SITE=home
	@test -n "$(SITE)" || { echo "Which site? make vault SITE=home (a folder in inventories/)"; exit 2; }
	# A kit that was opened here has left the password.
	test ! -e inventories/$(SITE)/.vault-password || export ANSIBLE_VAULT_PASSWORD_FILE=inventories/$(SITE)/.vault-password
	test ! -e inventories/$(SITE)/group_vars/all/vault.yml || exec $(VENV)/ansible-vault edit inventories/$(SITE)/group_vars/all/vault.yml
	$(VENV)/python tools/fill_vault.py inventories/example/group_vars/all/vault.example | \
	  $(VENV)/ansible-vault encrypt --output inventories/$(SITE)/group_vars/all/vault.yml
	$(VENV)/ansible-vault edit inventories/$(SITE)/group_vars/all/vault.yml

kit: venv ## Make the recovery kit of a site, one encrypted file to carry away: make kit SITE=home (TO=folder)
	@test -n "$(SITE)" || { echo "Which site? make kit SITE=home (a folder in inventories/)"; exit 2; }
	$(VENV)/python -m tools.kit make "$(SITE)" $(if $(TO),--to "$(TO)")

kit-open: venv ## Open a recovery kit in this clone: make kit-open KIT=/media/usb/home-2026-11-24.tar.gpg
	@test -n "$(KIT)" || { echo "Which one? make kit-open KIT=/path/to/home-2026-11-24.tar.gpg"; exit 2; }
	$(VENV)/python -m tools.kit open "$(KIT)"

pins: ## Pin the tools of requirements.in anew (needs uv)
	@pin="uv pip compile -q --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links"
	without() { printf -- '--no-emit-package %s ' "$$@"; }
	names() { grep -ohE '^[a-z0-9-]+==' "$$@" | tr -d =; }
	$$pin --python-version 3.12 requirements.in -o requirements.txt
	$$pin --python-version 3.12 -c requirements.txt --overrides <(echo 'python-dateutil'; grep pycountry-convert src/requirements-agent.overrides) \
	  $$(without $$(names requirements.txt)) requirements-route53.in -o requirements-route53.txt
	debian="requests urllib3 certifi charset-normalizer pyyaml six tzdata"
	$$pin --python-version 3.11 --overrides src/requirements-agent.overrides $$(without $$debian) src/requirements-agent.in -o src/requirements-agent.txt
	$$pin --python-version 3.13 --overrides src/requirements-agent.overrides -c src/requirements-agent.txt \
	  $$(without $$debian $$(names src/requirements-agent.txt)) src/requirements-agent-python313.in -o src/requirements-agent-python313.txt

docs: venv ## Write docs/site-variables.md and the providers in docs/dns.md from the specification
	@$(VENV)/python tools/site_docs.py

clean: ## Remove everything the project made: the lab, its images and caches, .venv, build
	@test ! -x $(VENV)/ansible-playbook || $(LAB) molecule/shared/destroy.yml -e lab_clear_images=true
	$(SUDO) rm -rf .venv build
