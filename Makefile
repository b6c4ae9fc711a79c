# What a newcomer needs: `make demo`, `make test`, `make lint`. Everything is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SITE := mkdocs-material 'mkdocstrings[python]'
DEMO := generate example --frames 56 --motion-bucket 12 --seed 1 --enlarge 8

.PHONY: demo test mutants lint docs site browse bench bench-gpu bench-gpu-compiled bench-threads wheel wheel-demo \
	wheel-elsewhere large clean

demo: .venv/demo
	$(BIN)/longtake $(DEMO) --overwrite -o longtake-demo.mp4
	@echo "longtake is installed in .venv: run $(BIN)/longtake --help, or first: . $(BIN)/activate"

# In the order of their names: the files of few tests are the slow ones, and should not come last.
test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Before a release: changes of formulas that no test notices. All of them take hours; MUTANTS='--sample 60 --seed 1' draws some.
mutants: .venv/dev
	$(BIN)/python tests/mutants.py $(MUTANTS)

large: .venv/dev
	$(BIN)/python -m pytest -m "large or slow"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p .mypy_cache/path && ln -sfn "$(CURDIR)" .mypy_cache/path/longtake
	MYPYPATH=.mypy_cache/path $(BIN)/mypy -m longtake $(foreach part,core plugins positional schedules,-p longtake.$(part))
	$(BIN)/codespell
	$(BIN)/cog --check --check-fail-msg "run: make docs" README.md docs/*.md docs/benchmarks/*.md

# Fill in what the documentation takes from the code, and draw its pictures anew.
docs: .venv/dev
	$(BIN)/cog -r README.md docs/*.md docs/benchmarks/*.md
	$(BIN)/python docs/figures.py
	$(BIN)/python docs/strategy_figures.py
	$(BIN)/python docs/tutorial_figure.py
	$(BIN)/python docs/benchmark_figure.py
	$(BIN)/python docs/comfyui_workflows.py

# The documentation as a site, build/site; it reads the package as it is installed, from an environment of its own.
site: .venv/dev
	test -x build/site-venv/bin/python || $(PYTHON) -m venv build/site-venv
	build/site-venv/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt $(SITE)
	build/site-venv/bin/python -m pip --disable-pip-version-check install -q --force-reinstall --no-deps .
	NO_MKDOCS_2_WARNING=1 build/site-venv/bin/mkdocs build --quiet

# Every page of it in a headless Chromium, which has to be there; fails on any error in a console.
browse: site
	$(BIN)/python docs/browse.py

# Against diffusers, on this machine; takes about an hour, and wants the machine for itself.
BENCH := $(BIN)/longtake bench -o docs/benchmarks/cpu.json
BOTH := --contender diffusers --contender longtake
bench: .venv/dev
	$(BENCH) --part unet --rounds 2
	$(BENCH) --size slim --part unet --compile --rounds 3 --frames 14 --frames 28 $(BOTH) \
		--contender "diffusers, compiled" --contender "longtake, compiled"
	$(BENCH) --size tiny --part unet --part pipeline --rounds 5 --frames 14 --frames 56 $(BOTH)
	$(BENCH) --size tiny --part guided --rounds 5 --frames 14 --frames 56
	$(BENCH) --part decode --rounds 2
	$(BENCH) --part guided --rounds 2 --frames 14 --frames 28
	$(BENCH) --part pipeline --rounds 1 --frames 14 --frames 28
	$(BENCH) --part pipeline --rounds 1 --cold --frames 56
	$(BENCH) --part speed --rounds 1 --cold --frames 28 --contender exact --contender fast --contender draft
	$(BENCH) --size slim --part speed --rounds 1 --cold --frames 28
	$(BENCH) --size slim --part length --rounds 2 $(foreach frames,14 28 56 112 250,--frames $(frames))
	$(BENCH) --size slim --part length --rounds 1 --cold --frames 500 --frames 1000 --contender diffusers --contender longtake

# The same on a GPU with full-size SVD-XT, in about nine minutes, what matters most first; diffusers compiles for two of them.
BENCH_GPU := $(BIN)/longtake bench -o docs/benchmarks/gpu.json --device cuda --dtype bfloat16 --size full
bench-gpu: .venv/dev
	$(BENCH_GPU) --part unet --compile --frames 25 --rounds 3 $(BOTH) --contender "diffusers, compiled"
	$(BENCH_GPU) --cap 24 --part pipeline --frames 1000 --steps 1 --rounds 1 --cold --contender longtake
	$(BENCH_GPU) --part pipeline --frames 25 --steps 25 --rounds 1 $(BOTH)
	$(BENCH_GPU) --cap 24 --part limit --frames 1000 $(BOTH)
	$(BENCH_GPU) --cap 24 --part decode-limit --frames 100 $(BOTH)
	$(BENCH_GPU) --part unet --part decode --frames 25 --frames 80 --rounds 2 $(BOTH) \
		--contender "longtake, skips in the host's memory" --contender "diffusers, 8 frames at a time"
	$(BENCH_GPU) --part pipeline --frames 80 --frames 200 --steps 3 --rounds 1 --cold --contender longtake \
		--contender "diffusers, feed-forward and decoding in chunks"

# The other rows of that page, which take many minutes more: compiled for both lengths, and a feed-forward in chunks.
bench-gpu-compiled: .venv/dev
	$(BENCH_GPU) --part unet --compile --frames 25 --frames 80 --rounds 3 $(BOTH) \
		--contender "diffusers, compiled" --contender "longtake, compiled" --contender "diffusers, chunked feed-forward"

# How threads are best used on idle and on busy cores; wants the machine for itself.
bench-threads: .venv/dev
	$(BIN)/python docs/benchmark_threads.py

# The wheel, in an environment of its own, away from this folder.
wheel-demo: wheel
	$(MAKE) wheel-elsewhere

wheel: .venv/dev
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel . > build/wheel/log

wheel-elsewhere:
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt build/wheel/*.whl
	mkdir -p build/wheel/elsewhere
	cd build/wheel/elsewhere && ../venv/bin/longtake $(DEMO) --steps 5 -o longtake-demo.mp4 && ls -l

.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt -e .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	touch $@ .venv/demo

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis longtake-demo*
