#!/usr/bin/env bash
# What needs a GPU, on a machine that has one, PyTorch and transformers, and neither a network nor much time.
#
#   benchmarks/gpu.sh prepare [FOLDER]   here, with a network: FOLDER (out/gpu) gets part-00, part-01, … of 44 MiB at most,
#                                        and parts.sha256
#   benchmarks/gpu.sh take FILE …        there: keep parts and parts.sha256, as they arrive
#   benchmarks/gpu.sh run [RESULTS]      there, when all have arrived: results go to RESULTS (benchmarks/results/gpu);
#                                        what this commit has there already is left alone
#   benchmarks/gpu.sh try [RESULTS]      the same with next to nothing to do, to see that it runs; also without a GPU
#
# The parts hold this commit, what Python packages are missing there, the base and the texts. There they are kept in
# SHAREDLLM_GPU (~/.sharedllm-gpu). Uncommitted changes are left out: what is measured is a commit.
set -euo pipefail
kept=${SHAREDLLM_GPU:-$HOME/.sharedllm-gpu}
# Of the machine: its Python, and what it has not.
python=3.12
packages=(alembic cffi cryptography gguf mako platformdirs pycparser sqlalchemy)

prepare() {
    local folder=${1:-out/gpu}
    cd "$(dirname "$0")/.."
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/bundle/wheels" "$folder"
    git bundle create --quiet "$work/bundle/commit" HEAD
    local platforms=()
    for glibc in 17 27 28 34; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version "$python" --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
        --constraint constraints.txt --dest "$work/bundle/wheels" "${packages[@]}"
    .venv/bin/python -m benchmarks.gpu bundle "$work/bundle"
    rm -f "$folder"/part-*
    tar -C "$work/bundle" -c . | gzip | split -b 44M -d - "$folder/part-"
    (cd "$folder" && sha256sum part-* > parts.sha256 && ls -l)
}

take() {
    mkdir -p "$kept"
    cp "$@" "$kept/"
    ls -l "$kept"
}

run() {
    local results=${1:-benchmarks/results/gpu}
    mkdir -p "$results"
    results=$(realpath "$results")
    if ! [ -d "$kept/checkout" ]; then
        (cd "$kept" && sha256sum --check --quiet parts.sha256)
        mkdir -p "$kept/bundle"
        cat "$kept"/part-[0-9][0-9] | tar -C "$kept/bundle" -xz
        python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$kept/packages" \
            "$kept"/bundle/wheels/*.whl
        git -c advice.detachedHead=false clone --quiet "$kept/bundle/commit" "$kept/checkout"
    fi
    cd "$kept/checkout"
    export PYTHONPATH=src:$kept/packages SHAREDLLM_CACHE=$kept/cache XDG_DATA_HOME=$kept/data PYTHONUNBUFFERED=1
    export HF_HUB_OFFLINE=1
    python3 -m benchmarks.gpu "$mode" "$results" --bundle "$kept/bundle"
}

mode=${1:-}
case $mode in
    prepare | take) shift; "$mode" "$@" ;;
    run | try) shift; run "$@" ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
