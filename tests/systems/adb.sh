#!/usr/bin/env bash
# Debian's adb client and a C compiler, for the test of phones. Needs root; does nothing where they are installed.
set -euo pipefail
command -v adb >/dev/null && command -v cc >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends adb gcc libc6-dev >/dev/null
