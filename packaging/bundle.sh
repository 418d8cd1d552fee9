#!/bin/sh
# Packs all that a site without internet needs into one archive, dist/medfinetune-VERSION-bundle.tar: `make images-bundle`.
#
#   OPERATOR_IMAGE, TRAINER_IMAGE  where skopeo finds the images that `make images` built, such as docker-daemon:medfinetune/trainer:0.1.0,
#                                  containers-storage:localhost/medfinetune/trainer:0.1.0 or docker://REGISTRY/medfinetune/trainer:0.1.0
#   PYTHON                         this project's environment; HELM: helm; OUTPUT: the folder, default dist
#   CLI_PYTHONS                    the Python versions that the command line is packed for, on this machine's kind of processor
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python} helm=${HELM:-helm}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)

refuse() {
    echo "bundle.sh: $*" >&2
    exit 2
}

for name in OPERATOR_IMAGE TRAINER_IMAGE; do
    eval "value=\${$name:-}"
    case $value in
    *:*) ;;
    *) refuse "$name: found '$value'; expected an image with its transport, such as docker-daemon:medfinetune/trainer:$version. See skopeo(1)." ;;
    esac
done
command -v skopeo >/dev/null || refuse "found no skopeo in PATH; it copies images between engines, archives and registries. Debian, Fedora: package skopeo."

mkdir -p "${OUTPUT:-dist}"
output=$(cd "${OUTPUT:-dist}" && pwd)
work=$(mktemp -d "$output/.bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
bundle="$work/medfinetune-$version"
mkdir "$bundle" "$bundle/chart" "$bundle/crds" "$bundle/cli"

# Small things first: what is missing is told before minutes of copying.
$helm package charts/medfinetune --destination "$bundle/chart" >/dev/null
cp crds/*.yaml "$bundle/crds"
cp -R docs "$bundle/docs"
cp LICENSE packaging/load.sh "$bundle"
echo "$version" >"$bundle/VERSION"
"$python" -m hatchling build --target wheel --directory "$bundle/cli" >/dev/null
for minor in ${CLI_PYTHONS:-3.11 3.12 3.13}; do
    "$python" -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: --python-version "$minor" \
        --implementation cp --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2014_$(uname -m)" --requirement locks/cli.txt --dest "$bundle/cli"
done

for part in operator trainer; do
    if [ "$part" = operator ]; then source=$OPERATOR_IMAGE; else source=$TRAINER_IMAGE; fi
    case $source in
    docker://*) set -- --preserve-digests ;;
    *) set -- --format oci --dest-compress-format zstd ;;
    esac
    # shellcheck disable=SC2086  # options are words
    skopeo copy --quiet "$@" ${SKOPEO_OPTIONS:-} "$source" "oci:$bundle/images:medfinetune/$part:$version"
done
packaging/seal.sh "$bundle" "$output/medfinetune-$version-bundle.tar"
