#!/bin/sh
# Installs the Debian packages that a node of this machine needs, where one is missing. Needs root.
set -eu
packages="buildah conntrack containerd containernetworking-plugins debootstrap docker-registry gcc iproute2 iptables libc6-dev openssl runc util-linux"
missing=""
for package in $packages; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
echo "installing Debian packages:$missing" >&2
apt-get update --quiet
DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $missing
