#!/bin/sh
# tests/packages.sh PACKAGE...: installs the Debian packages that are missing. Needs Debian, and root where one is missing; says otherwise what it lacks.
set -eu
missing=""
for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "missing, and to be installed by root (Debian: apt-get install$missing):$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing" >&2
apt-get update --quiet
DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $missing
