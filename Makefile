# SPDX-License-Identifier: GPL-2.0-only
#
# Every command a user or developer needs; `make help` lists them. The work is
# in scripts/, cargo and Xen's own build: this file only says what needs what.

# The architecture to build for (x86_64, arm64), the variant (release, debug, xsm),
# and a Xen source tree to use instead of Debian's (copied, never changed).
ARCH ?= x86_64
VARIANT ?= release
XEN_SRC ?=
export XEN_SRC

# Whose grant tables the Debian lab runs on: ours (rust) or released Xen's (c).
GRANT_TABLE ?= rust

# What `make profile` shows: options of `gdma-lab profile`.
PROFILE ?=

# Test sequences that `make fuzz` plays.
FUZZ_CASES ?= 20000

.DELETE_ON_ERROR:
# Each target's own build is parallel; two of them would share its folders.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

need := scripts/need-tools.sh
build-xen := scripts/build-xen.sh
lab := cargo run --quiet --locked --release -p testbed --bin gdma-lab --
# What one build of Xen for ARCH needs.
xen-tools = xen-build rust-hv $(filter arm64,$(ARCH))

.PHONY: help
help: ## List these commands
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		awk -F '\t' '{ printf "  %-14s %s\n", $$1, $$2 }'
	@echo 'Variables:'
	@echo '  ARCH=x86_64|arm64  VARIANT=release|debug|xsm   what xen and xen-stock build'
	@echo '  XEN_SRC=/path      a Xen 4.20 tree to use instead of the Debian source package'
	@echo '  XTF=/path          the XTF checkout that xtf-install is for'
	@echo '  GRANT_TABLE=rust|c whose grant tables lab runs on'
	@echo '  PROFILE=options    for profile: --variant ours-args --batch 16 --top 40'
	@echo '  FUZZ_CASES=N       how many sequences fuzz plays'
	@echo '  BENCH_STRICT=1     bench fails if an operation is slower than stock, larger or not built'

.PHONY: tools
tools: ## Install, or name, every program that some command needs
	@$(need) xen-build arm64 rust-hv policy qemu host-rust cbindgen lint

# --- Xen -------------------------------------------------------------------

.PHONY: xen
xen: ## Xen with the Rust service in it: build/xen/ARCH/xen
	@$(need) $(xen-tools)
	@$(build-xen) patched $(ARCH) $(VARIANT)

.PHONY: xen-debug
xen-debug: ## The same with assertions and the panic test: build/xen/ARCH-debug/xen
	@$(MAKE) xen VARIANT=debug

.PHONY: xen-xsm
xen-xsm: ## The same with access control (FLASK, SILO) to choose: build/xen/ARCH-xsm/xen
	@$(MAKE) xen VARIANT=xsm

.PHONY: policy
policy: ## The FLASK policies that the lab boots xen-xsm with: build/xen/policy
	@$(need) policy
	@scripts/build-policy.sh

.PHONY: xen-stock
xen-stock: ## Xen as released, same configuration: build/xen/ARCH/stock/xen
	@$(need) $(xen-tools)
	@$(build-xen) stock $(ARCH) $(VARIANT)

.PHONY: check-off
check-off: ## Prove that with our options off Xen compiles to the released code
	@$(need) $(xen-tools)
	@$(build-xen) padded $(ARCH) $(VARIANT)
	@$(build-xen) off $(ARCH) $(VARIANT)
	@scripts/compare-off.sh $(ARCH) $(VARIANT)

# --- Test guests -----------------------------------------------------------

.PHONY: guests
guests: ## The test guests: build/xtf/TEST/test-ENV-TEST
	@$(need) xen-build
	@scripts/build-guests.sh

.PHONY: xtf
xtf: guests ## Another name of guests

.PHONY: xtf-install
xtf-install: ## Put the tests into an upstream XTF checkout (XTF=/path)
	@$(MAKE) -C xtf-tests xtf-install XTF='$(abspath $(XTF))'

# --- The ABI's C header and reference --------------------------------------

.PHONY: abi-header
abi-header: ## Generate the C header and docs/abi.md from the crate hypercall-abi
	@$(need) host-rust cbindgen
	@scripts/abi-header.sh

.PHONY: abi-check
abi-check: ## Fail if the committed header or docs/abi.md is out of date
	@$(need) host-rust cbindgen
	@scripts/abi-header.sh --check

# --- Checks ----------------------------------------------------------------

.PHONY: check
check: ## Format, lints, unit, model and property tests, script tests (no QEMU)
	@scripts/check.sh

.PHONY: test
test: ## Everything: check, every build, every test guest in QEMU
	@$(need) xen-build arm64 rust-hv policy qemu
	@$(MAKE) check
	@$(MAKE) xen
	@$(MAKE) xen ARCH=arm64
	@$(MAKE) xen-debug
	@$(MAKE) xen-xsm
	@$(MAKE) policy
	@$(MAKE) xen-stock
	@$(MAKE) check-off
	@$(MAKE) guests
	@$(lab) test

.PHONY: fuzz
fuzz: ## Play FUZZ_CASES random sequences against the oracle
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --locked --release -p testbed --test sequences

.PHONY: demo
demo: ## Build, boot under QEMU, and show a device writing into a pinned page
	@$(need) qemu
	@$(MAKE) xen
	@$(MAKE) guests
	@$(lab) demo

.PHONY: bench
bench: ## What grants cost: a page's way to a device, every table operation; ours and stock
	@$(need) qemu
	@$(MAKE) xen
	@$(MAKE) xen-stock
	@$(MAKE) guests
	@$(lab) bench $(if $(filter 1,$(BENCH_STRICT)),--strict)

.PHONY: profile
profile: ## Where the instructions of map and unmap go, by function; ours and stock
	@$(need) qemu
	@$(MAKE) xen
	@$(MAKE) xen-stock
	@$(MAKE) guests
	@$(lab) profile $(PROFILE)

.PHONY: lab
lab: ## Debian as dom0 and as its domains: disks, networks, grants given back
	@$(need) qemu dom0-lab
	@$(MAKE) $(if $(filter c,$(GRANT_TABLE)),xen-stock,xen)
	@scripts/lab-image.sh
	@$(lab) linux --grant-table $(GRANT_TABLE)

.PHONY: stats
stats: ## Lines of code, unsafe blocks by file, size of the patch to Xen's files
	@scripts/stats.sh

.PHONY: clean
clean: ## Remove what was built; downloads, tools and unpacked sources stay
	rm -rf target build/rust build/xtf build/logs build/xen/x86_64* build/xen/arm64*

.PHONY: distclean
distclean: ## Remove everything that is not source
	rm -rf target build
