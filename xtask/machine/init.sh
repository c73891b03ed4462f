#!/bin/busybox sh
# From the first files to the disk.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for pass in 1 2 3; do
    for module in /lib/*.ko; do $b insmod "$module" 2>/dev/null; done
done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 300 ]; do
    $b usleep 100000
    tries=$((tries + 1))
done
$b mount -t ext4 /dev/vda /mnt && exec $b switch_root /mnt /lib/systemd/systemd
echo "FAILED: no disk"
echo "more: none"
