#!/bin/sh
# Writes the checksums of a bundle's files into it and packs it: seal.sh FOLDER ARCHIVE. The archive's own checksum lies beside it.
set -eu
[ $# -eq 2 ] && [ -d "$1" ] || {
    echo "seal.sh: found '$*'; expected a bundle's folder and the archive to write." >&2
    exit 2
}
(cd "$1" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS)
tar --create --file "$2.unfinished" --directory "$(dirname "$1")" --sort=name --owner=0 --group=0 --numeric-owner "$(basename "$1")"
mv "$2.unfinished" "$2"
(cd "$(dirname "$2")" && sha256sum "$(basename "$2")" >"$(basename "$2").sha256")
echo "$2"
