# SPDX-License-Identifier: Apache-2.0
#
# Thin: each target installs what is missing, then calls CMake. See CONTRIBUTING.md.
#
#   make run      build, and read the catalogue of a small example database
#   make test     build everything and run all tests
#   make bench    the benchmarks, each beside its floor (BENCH="--rounds 3 --only codec")
#   make check    format, analysers, documents
#   make format   clang-format on every source
#   make install  programs and connectors to PREFIX (DESTDIR is honoured)
#   make fuzz     every fuzzer for FUZZ_SECONDS each
#   make chaos    the chaos suite with new seeds for CHAOS_SECONDS (SEEDS=7,20-30: these seeds)
#   make sim      the head in a simulated world, SEEDS=1-10000
#   make clean

.PHONY: run test bench format check install fuzz chaos sim clean
.DEFAULT_GOAL := run

PRESET       ?= release
PREFIX       ?= /usr/local
JOBS         ?= 2
FUZZ_SECONDS ?= 60
SEEDS        ?= 1-10000
CHAOS_SECONDS ?= 3600
SEEDS        ?=
CTEST        ?=
LABELS       ?= ^(unit|proto|e2e|fuzz|docs|chaos)$$

configure = cmake --preset $(PRESET) >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
# Says nothing when there is nothing to do, and shows what the compiler says if it fails.
quiet_build = test -x build/release/bin/shoal || echo "building the programs; this takes a minute or two" ; \
	cmake --build --preset $(PRESET) --target programs >build/programs.log 2>&1 || \
	{ cat build/programs.log; exit 1; }
sources   = $(shell git ls-files '*.c' '*.h' ':!tests/bench/floor')

run:
	@deploy/install-deps build
	@mkdir -p build && $(configure)
	@$(quiet_build)
	@$(MAKE) --no-print-directory build/shop.db
	@build/release/bin/shoal ingest -c docs/examples/shop.yaml

build/shop.db: docs/examples/shop.sql
	@rm -f $@.new && sqlite3 $@.new <$< && mv $@.new $@

test:
	@deploy/install-deps build test
	@mkdir -p build && $(configure)
	@cmake --build --preset $(PRESET)
	@ctest --test-dir build/release -L '$(LABELS)' -j$(JOBS) --output-on-failure $(CTEST)

bench:
	@deploy/install-deps build test bench
	@mkdir -p build && $(configure)
	@cmake --build --preset $(PRESET)
	@cmake --build --preset $(PRESET) --target bench
	@tests/bench/run.py $(BENCH)

format:
	@deploy/install-deps lint
	@clang-format-14 -i $(sources)

check:
	@deploy/install-deps build test lint
	@tests/support/check format tidy cppcheck docs

install:
	@deploy/install-deps build
	@mkdir -p build && $(configure)
	@cmake --build --preset $(PRESET) --target programs
	@cmake --install build/release --prefix $(PREFIX)

fuzz:
	@deploy/install-deps build test lint
	@mkdir -p build && cmake --preset fuzz >/dev/null && cmake --build --preset fuzz
	@tests/support/check fuzz $(FUZZ_SECONDS)

chaos:
	@deploy/install-deps build test
	@mkdir -p build && $(configure)
	@cmake --build --preset $(PRESET)
	@SHOAL_BUILD=build/$(PRESET) tests/chaos/run.py \
		$(if $(SEEDS),--seeds $(SEEDS),--for $(CHAOS_SECONDS))
	@SHOAL_BUILD=build/$(PRESET) tests/chaos/local.py --seeds 1-40
	@SHOAL_BUILD=build/$(PRESET) tests/chaos/hostile.py --messages 1000000 --silent 8000 --seconds 60

sim:
	@deploy/install-deps build test
	@mkdir -p build && $(configure)
	@cmake --build --preset $(PRESET) --target sim
	@build/$(PRESET)/tests/sim --seeds $(SEEDS)

clean:
	@rm -rf build
