#!/bin/sh
# Runs the shipped models as on an ARM64 machine, which QEMU emulates, and compares with this one: a line for each.
#   sh tests/support/arm64.sh [MODEL]...
# As root, on Debian. PYTHON is a Python with aae_zoo and pip, by default python3; QEMU_CPU is one of those that
# `qemu-aarch64 -cpu help` lists, by default neoverse-n1. On one CPU a quarter of an hour.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/support}/build/arm64
python=${PYTHON:-python3}
if ! qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || ! command -v debootstrap >/dev/null; then
	echo "error: debootstrap or QEMU is missing: apt install debootstrap qemu-user" >&2
	exit 1
fi

# Debian's packages are unpacked, not installed: that would be the work of ARM64's own programs.
if ! test -e "$root/usr/bin/python3"; then
	rm -rf "$root"
	debootstrap --arch arm64 --foreign --variant=minbase --include=python3 bookworm "$root" >/dev/null
	for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
fi
rm -rf "$root/dist" "$root/packages" "$root/kept"
mkdir "$root/kept"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$root/dist" "${here%/tests/support}"
"$python" -m pip install --quiet --target "$root/packages" --python-version 3.11 --only-binary=:all: \
	--platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
	--platform manylinux_2_17_aarch64 "$(echo "$root"/dist/*.whl)[cpu]"

emulated() {
	env -i HOME="$root" PYTHONPATH="$root/packages" QEMU_CPU="${QEMU_CPU:-neoverse-n1}" QEMU_LD_PREFIX="$root" \
		"$qemu" "$root/usr/bin/python3" -W error "$@"
}
emulated "$root/packages/bin/aae-zoo" doctor || {
	echo "error: aae-zoo does not work in $("$qemu" --version | head -n 1); in 7.2 ONNX Runtime ends, 10.0 runs it" >&2
	exit 1
}
"$python" "$here/elsewhere.py" "$root/kept" "$@"
emulated "$here/elsewhere.py" "$root/kept" "$@"
