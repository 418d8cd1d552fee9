#!/bin/sh
# What a node of this machine needs of Debian. Needs root.
set -eu
exec "$(dirname "$0")/../../packages.sh" buildah conntrack containerd containernetworking-plugins debootstrap docker-registry gcc iproute2 iptables \
    libc6-dev openssl runc skopeo util-linux
