#!/usr/bin/env bash
# container.sh ROOT BINDS OVERLAYS UID COMMAND...
# Runs in mount and pid namespaces of its own: makes ROOT the root file system and runs COMMAND there.
#   BINDS      file of lines "source target": mounted read-only
#   OVERLAYS   folder: ROOT and every bind can be written, and what is written lies in it; - for none:
#              nothing can be written but ROOT/tmp
set -euo pipefail
root=$1 binds=$2 overlays=$3 uid=$4
shift 4

mount --make-rprivate /
mount --bind "$root" "$root"
number=0
while read -r source target; do
    number=$((number + 1))
    if [ "$overlays" != - ] && [ -d "$source" ]; then
        mkdir -p "$overlays/$number/upper" "$overlays/$number/work"
        mount -t overlay rehearsal "$root$target" \
            -o "lowerdir=$source,upperdir=$overlays/$number/upper,workdir=$overlays/$number/work"
    else
        mount --bind "$source" "$root$target"
        mount -o remount,bind,ro "$root$target"
    fi
done <"$binds"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for device in null zero full random urandom; do
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$root/tmp" "$root/tmp"
[ "$overlays" != - ] || mount -o remount,bind,ro "$root"

cd "$root"
pivot_root . .
umount -l .
cd /microservice

drop="setpriv --no-new-privs --bounding-set=-all --inh-caps=-all"
whole_machine=no
! grep -qE '^ *0 +0 +4294967295$' /proc/self/uid_map || whole_machine=yes
# The first child is the server; on a kubelet the runtime's threads take the numbers before.
echo 6 >/proc/sys/kernel/ns_last_pid || true
if [ "$uid" = 0 ]; then
    exec "$@"
elif [ $whole_machine = yes ]; then
    exec $drop --reuid="$uid" --regid="$uid" --clear-groups -- "$@"
else
    exec unshare --user --map-user="$uid" --map-group="$uid" -- $drop -- "$@"
fi
