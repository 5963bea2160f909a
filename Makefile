# The short commands. “make” alone lists them.
.DEFAULT_GOAL := help
# Dollar signs in a command are the shell's, not make's.
override CMD := $(value CMD)
export CMD SCRIPT ARGS KERNEL LAPTOP
.PHONY: help run test test-sanitize laptop module setup build bench survive lint clean

help: ## this list
	@echo "DSMIL: what an agent does to this laptop stays bounded, recorded and reversible."
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo
	@echo "KERNEL=7.3 picks another stock kernel, LAPTOP=name keeps the virtual laptop's disk and TPM,"
	@echo "DSMIL_CACHE=folder and DSMIL_MIRROR=url move the cache and the Debian mirror."

run: ## set up, boot the virtual laptop, give the tour, leave a prompt
	@scripts/run.sh

test: ## set up and run every test
	@scripts/test.sh

test-sanitize: ## the module under a kernel with KASAN, lockdep, kmemleak, fault injection (slow the first time)
	@scripts/sanitize.sh

laptop: ## boot the laptop and run something in it: CMD='…', SCRIPT=file ARGS='…', or a prompt
	@scripts/setup.sh && scripts/build.sh >&2 && \
	if [ -n "$$CMD" ]; then exec scripts/laptop.sh command "$$CMD"; \
	elif [ -n "$$SCRIPT" ]; then exec scripts/laptop.sh script "$$SCRIPT" $$ARGS; \
	else exec scripts/laptop.sh shell; fi

module: ## build dsmil.ko, for the running kernel if it has Rust metadata, else a stock one (KERNEL=…)
	@if [ -n "$(KERNEL)" ] || [ ! -f /lib/modules/$$(uname -r)/build/rust/libkernel.rmeta ]; then scripts/setup.sh; fi
	@scripts/module.sh

setup: ## fetch and prepare whatever is missing
	@scripts/setup.sh

build: ## set up, then build programs and module
	@scripts/setup.sh && scripts/build.sh

bench: ## list the benchmarks, or run one: BENCH=name
	@scripts/bench.sh "$(BENCH)"

survive: ## list the long runs of kills and faults, or run one: WHAT=name or WHAT=all
	@scripts/survive.sh "$(WHAT)"

lint: ## formats and lints of everything
	@scripts/lint.sh

clean: ## remove what the build made; the cache outside the tree stays
	rm -rf target
