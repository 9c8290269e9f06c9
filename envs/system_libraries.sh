#!/usr/bin/env bash
# Open3D needs system libraries that a bare machine may lack: install them where we may, else name them.
set -u
python=$1
missing() { "$python" -c "import open3d" 2>&1 | grep -o "lib[A-Za-z0-9_.+-]*\.so[0-9.]*" | head -n 1; }

"$python" -c "import open3d" 2> /dev/null && exit 0
packages="libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6"
if command -v apt-get > /dev/null; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2> /dev/null; then as_root="sudo -n"; else as_root="none"; fi
    if [ "$as_root" != none ]; then
        echo "Installing the system libraries $packages ..."
        $as_root apt-get update -qq > /dev/null
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages > /dev/null
    fi
fi
"$python" -c "import open3d" 2> /dev/null && exit 0
echo "Open3D cannot find the system library $(missing): install it (Debian or Ubuntu: apt-get install $packages) and run make again." >&2
exit 1
