# Every way to work with Stoa. The recipes are one line each; scripts/ holds what is longer.

.DEFAULT_GOAL := help
.PHONY: help run test lint fmt docs generated bench clean

help: ## print this
	@echo "make <what>:"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: ## build everything and start a Redis with the module and a front (FRONTS=2 starts two); Ctrl-C stops them
	@exec scripts/run

test: ## all that must hold: format, lints, docs, Rust and TypeScript tests, the stories, the browser
	@exec scripts/test

lint: ## format check, clippy and rustdoc without warnings
	@exec scripts/test lint

fmt: ## format the Rust code
	cargo fmt --all

docs: ## build the Rust documentation into target/doc
	cargo doc --workspace --no-deps

generated: ## write again what is made from the code: docs/commands.md and the client's frames.ts
	STOA_WRITE_REFERENCE=1 cargo test --quiet --package stoa-core --test reference
	cd front/client && npm run --silent frames

bench: ## run the benchmarks (see benches/README.md)
	cd benches/peers && npm ci --silent
	cargo bench --workspace --bench '*'

clean: ## remove what was built; the data in .stoa stays
	cargo clean
	rm -rf front/client/dist front/demo/dist front/client/node_modules front/demo/node_modules tests/*/node_modules
