#!/usr/bin/env bash
# A small arm64 system of Debian's packages in the folder ROOT, and the kernel told to run its programs with qemu.
#   arm64.sh ROOT        prints "registered" where the kernel had to be told, so that it can be told off again
# Needs root and apt; installs Debian's qemu-user-static where it is missing.
set -euo pipefail
root=$1
"$(dirname "${BASH_SOURCE[0]}")/packages.sh" /usr/lib/binfmt.d/qemu-aarch64.conf -- qemu-user-static
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$root"/{proc,dev,tmp,root,etc} "$apt"/state/lists/partial "$apt"/cache/archives/partial
touch "$apt/state/status"
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State=$apt/state"
         -o "Dir::State::status=$apt/state/status" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
apt-get "${options[@]}" -y --no-install-recommends --download-only install python3 bash coreutils libstdc++6 >/dev/null
for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
# ONNX Runtime reads this, and would find the processor of the machine that emulates.
printf 'processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd08\n' >"$root/cpuinfo"

binfmt=/proc/sys/fs/binfmt_misc
[ -e "$binfmt/register" ] || mount -t binfmt_misc none "$binfmt"
if [ ! -e "$binfmt/qemu-aarch64" ]; then
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$binfmt/register"
    echo registered
fi
