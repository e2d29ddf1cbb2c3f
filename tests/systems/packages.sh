#!/usr/bin/env bash
# Debian packages for the tests that need real programs; none of their services is started, now or at the next boot.
#
#   packages.sh PROGRAM... -- PACKAGE...     PROGRAM: a command, or a pattern of paths; nothing is done where all exist
#
# Needs root. One call at a time on a machine: apt does not wait for itself, and a program that another call is
# unpacking is not yet there.
set -euo pipefail
exec 9>/run/lock/hwnas-packages
flock 9

missing=
while [[ ${1:?--} != -- ]]; do
    command -v "$1" >/dev/null || compgen -G "$1" >/dev/null || missing=yes
    shift
done
shift
[[ $missing ]] || exit 0

enabled() { systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | cut -d' ' -f1 | sort; }

export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d # Debian's packages start what they install, unless this forbids it
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
before=$(enabled || true)
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
comm -13 <(echo "$before") <(enabled || true) | xargs -r systemctl disable >/dev/null 2>&1 || true
