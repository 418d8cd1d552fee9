#!/bin/sh
# Builds the operator's and the trainer's image, labelled with version and revision, and pushes them where REGISTRY is given: `make images`.
#
#   ENGINE         docker (default), podman or buildah
#   VARIANT        cpu: the trainer alone, without CUDA, on Debian's torch, as medfinetune/trainer:TAG-cpu
#   BASE_IMAGE     another base than the Dockerfiles' default, by digest; with VARIANT=cpu, of Debian forky
#   TAG            default: the version in pyproject.toml
#   REGISTRY       put before the names medfinetune/operator and medfinetune/trainer; the chart's value imageRegistry
#   BUILD_OPTIONS  more options for the engine's build, such as --build-arg=PIP_INDEX_URL=...; PUSH_OPTIONS for its push
set -eu
cd "$(dirname "$0")/.."
engine=${ENGINE:-docker}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
tag=${TAG:-$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || revision="$revision-dirty"

refuse() {
    echo "images.sh: $*" >&2
    exit 2
}

case $engine in
docker | podman) ;;
buildah) BUILD_OPTIONS="--layers ${BUILD_OPTIONS:-}" ;;
*) refuse "ENGINE: found '$engine'; expected docker, podman or buildah." ;;
esac
case ${VARIANT:-} in
"" | cpu) ;;
*) refuse "VARIANT: found '$VARIANT'; expected cpu, or none for both images of a cluster with GPUs." ;;
esac
command -v "$engine" >/dev/null || refuse "ENGINE: found no program '$engine' in PATH. Install it, or name another: ENGINE=docker, podman or buildah."

# build DOCKERFILE NAME BASE [OPTION ...]
build() {
    file=$1 name=$2 base=$3
    shift 3
    [ -z "$base" ] || set -- "$@" --build-arg "BASE_IMAGE=$base"
    # shellcheck disable=SC2086  # options are words
    "$engine" build --file "$file" --tag "$name" "$@" ${BUILD_OPTIONS:-} .
}

# product PART TAG BASE [OPTION ...]
product() {
    file="Dockerfile.$1" name="${REGISTRY:+$REGISTRY/}medfinetune/$1:$2" base=$3
    shift 3
    build "$file" "$name" "$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$@"
    # shellcheck disable=SC2086
    [ -z "${REGISTRY:-}" ] || "$engine" push ${PUSH_OPTIONS:-} "$name"
    echo "$name"
}

if [ "${VARIANT:-}" = cpu ]; then
    build Dockerfile.base-cpu "medfinetune/base-cpu:$tag" "${BASE_IMAGE:-}"
    product trainer "$tag-cpu" "medfinetune/base-cpu:$tag" \
        --build-arg PYTHON=3.14 --build-arg LOCK=trainer-cpu --build-arg VENV_OPTIONS=--system-site-packages
else
    product operator "$tag" "${BASE_IMAGE:-}"
    product trainer "$tag" "${BASE_IMAGE:-}"
fi
