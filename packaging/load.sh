#!/bin/sh
# Loads this bundle into the site's registry: verifies every file, pushes the images, writes images.yaml, the chart's values that name them by digest.
#
#   ./load.sh --verify                                  # verify only
#   ./load.sh registry.hospital.example:5000/mirror     # then: helm install ... --values images.yaml
#
# Log in first where the registry asks for it: skopeo login. SKOPEO_OPTIONS takes more options of `skopeo copy`, such as --dest-cert-dir=DIR.
set -eu
cd "$(dirname "$0")"

refuse() {
    echo "load.sh: $*" >&2
    exit 2
}

altered() {
    echo "load.sh: this bundle is not what was packed: $* Copy it again; install nothing of it." >&2
    exit 1
}

case ${1:-} in
"" | -*) [ "${1:-}" = --verify ] || refuse "found '${1:-}'; expected the registry that nodes pull from, with a path where it has one, or --verify." ;;
*/) refuse "found '$1'; expected a registry or path without '/' at its end." ;;
*://*) refuse "found '$1'; expected a registry without scheme, as images are named: registry.hospital.example:5000/mirror." ;;
esac

sha256sum --check --strict --quiet SHA256SUMS || altered "the files above differ or are missing."
packed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS)
# A link is no file that was packed, whatever it leads to.
unlisted=$(find . -type l; find . ! -type d ! -type l ! -path ./SHA256SUMS ! -path ./images.yaml | grep -vxF "$packed" || true)
[ -z "$unlisted" ] || altered "nobody packed $unlisted."
echo "verified: $(wc -l <SHA256SUMS) files"
[ "$1" != --verify ] || exit 0

command -v skopeo >/dev/null || refuse "found no skopeo in PATH; it pushes images as they are, with their digests (package skopeo). images/ is an OCI layout, which other tools push too."
version=$(cat VERSION)
rm -f images.yaml
values="imageRegistry: $1"
for part in operator trainer; do
    image="medfinetune/$part:$version"
    # shellcheck disable=SC2086  # options are words
    skopeo copy --quiet --preserve-digests ${SKOPEO_OPTIONS:-} "oci:images:$image" "docker://$1/$image"
    digest=$(skopeo inspect --format '{{.Digest}}' "oci:images:$image")
    values="$values
$part: {image: {digest: \"$digest\"}}"
    echo "pushed $1/$image as $digest"
done
echo "$values" >images.yaml    # whole or not at all: without a digest the chart would install by tag
echo "next: helm install medfinetune chart/medfinetune-*.tgz --namespace medfinetune-system --create-namespace --values images.yaml"
