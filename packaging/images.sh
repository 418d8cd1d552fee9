#!/bin/sh
# Builds the operator's and the trainer's image, labelled with version and revision, and pushes them where REGISTRY is given: `make images`.
#
#   ENGINE         docker (default), podman or buildah
#   BASE_IMAGE     another base than the Dockerfiles' default, by digest
#   TAG            default: the version in pyproject.toml
#   REGISTRY       put before the names medfinetune/operator and medfinetune/trainer; the chart's value imageRegistry
#   TRAINER_LOCK   the trainer's lock, default trainer: locks/trainer.txt
#   BUILD_OPTIONS  more options for the engine's build, such as --build-arg=PIP_INDEX_URL=...; PUSH_OPTIONS for its push
set -eu
cd "$(dirname "$0")/.."
engine=${ENGINE:-docker} lock=${TRAINER_LOCK:-trainer}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || revision="$revision-dirty"

refuse() {
    echo "images.sh: $*" >&2
    exit 2
}

[ -f "locks/$lock.txt" ] || refuse "TRAINER_LOCK: found no locks/$lock.txt. docs/images.md says how to make one."
case $engine in
docker | podman) ;;
buildah) BUILD_OPTIONS="--layers ${BUILD_OPTIONS:-}" ;;
*) refuse "ENGINE: found '$engine'; expected docker, podman or buildah." ;;
esac
command -v "$engine" >/dev/null || refuse "ENGINE: found no program '$engine' in PATH. Install it, or name another: ENGINE=docker, podman or buildah."

for part in operator trainer; do
    name="${REGISTRY:+$REGISTRY/}medfinetune/$part:${TAG:-$version}"
    set -- --file "Dockerfile.$part" --tag "$name" --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
    [ -z "${BASE_IMAGE:-}" ] || set -- "$@" --build-arg "BASE_IMAGE=$BASE_IMAGE"
    [ "$part" = operator ] || [ "$lock" = trainer ] || set -- "$@" --build-arg "LOCK=$lock"
    # shellcheck disable=SC2086  # options are words
    "$engine" build "$@" ${BUILD_OPTIONS:-} .
    # shellcheck disable=SC2086
    [ -z "${REGISTRY:-}" ] || "$engine" push ${PUSH_OPTIONS:-} "$name"
    echo "$name"
done
