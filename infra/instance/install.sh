# Makes a fresh Debian a daemon of the fleet: disk, package, configuration, the watch for the
# instance's end; then says to CloudFormation whether it worked. lib/user-data.ts puts the settings
# (PREFIX, REGION, PACKAGE, STACK, GROUP, GROUP_ID, HOOK) before this, and the files that it writes
# into functions of their names. Runs once in an instance's life; what must come back after a
# reboot is enabled.
# shellcheck shell=bash disable=SC2154

set -euo pipefail

# For tests: another root of the file system, another metadata service, shorter pauses.
ROOT=${ROOT-}
IMDS=${IMDS:-http://169.254.169.254/latest}
PAUSE_S=${PAUSE_S:-10}
LEDGER=/var/lib/private/posthaste

metadata() {
    local token
    token=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" "$IMDS/api/token")
    curl -sf -H "X-aws-ec2-metadata-token: $token" "$IMDS/meta-data/$1"
}

# The stack waits for this: an update whose instances do not come up is rolled back.
signal() {
    aws cloudformation signal-resource --region "$REGION" --stack-name "$STACK" \
        --logical-resource-id "$GROUP_ID" --unique-id "$INSTANCE" --status "$1"
}

# The list of packages may be fetched while a mirror changes, or while the image's own first upgrade
# has the lock: three tries, and time between them.
apt_install() {
    local try
    for try in 1 2 3; do
        [ "$try" = 1 ] || sleep "$((try * PAUSE_S))"
        apt-get update -q -o DPkg::Lock::Timeout=120 &&
            apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=120 \
            -o Dpkg::Options::=--force-confold "$@" && return
        echo "apt-get failed, try $try of 3" >&2
    done
    return 1
}

# The one whole disk that is not the root's: names of NVMe devices depend on the order of the boot.
ledger_disk() {
    local root
    root=$(lsblk -no PKNAME "$(findmnt -no SOURCE /)" | head -n 1)
    lsblk -dpno NAME,TYPE | awk -v root="/dev/$root" '$2 == "disk" && $1 != root { print $1 }'
}

# The ledger has an EBS volume of its own. It survives a reboot and a stop of the instance, so that
# its retries go on where they were. It ends with the instance: then the leases in the rows end too,
# and another daemon sweeps up what waited here (PROTOCOL, step 14).
mount_ledger() {
    local disk
    disk=$(ledger_disk)
    [ "$(wc -w <<<"$disk")" -eq 1 ] || { echo "wanted is one more disk, found: $disk" >&2; return 1; }
    blkid "$disk" >/dev/null || mkfs.ext4 -q -L posthaste "$disk"
    # systemd's own place for the state of a service whose user is made up at each start.
    install -d -m 0700 "$ROOT$(dirname "$LEDGER")"
    mkdir -p "$ROOT$LEDGER"
    grep -q "^LABEL=posthaste " "$ROOT/etc/fstab" ||
        echo "LABEL=posthaste $LEDGER ext4 noatime,nodev,nosuid,noexec 0 2" >>"$ROOT/etc/fstab"
    mountpoint -q "$LEDGER" || mount "$LEDGER"
    # The daemon takes a folder with something in it that is not its own for somebody else's.
    rmdir "$ROOT$LEDGER/lost+found" 2>/dev/null || true
}

configure() {
    mkdir -p "$ROOT/etc/posthaste"
    posthaste_toml >"$ROOT/etc/posthaste/posthaste.toml"
}

# The unit shuts link-local addresses; the package's drop-in opens those that a daemon on EC2 needs
# itself. Taken out beforehand, because the package starts the unit when it is installed.
open_the_metadata_service() {
    local folder=$ROOT/etc/systemd/system/posthaste.service.d
    mkdir -p "$folder"
    dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/share/posthaste/aws.conf >"$folder/aws.conf"
}

# Nobody calls the end of an instance into it: a loop asks.
watch_for_the_end() {
    drain_sh >"$ROOT/usr/local/sbin/posthaste-drain"
    chmod 0755 "$ROOT/usr/local/sbin/posthaste-drain"
    drain_service >"$ROOT/etc/systemd/system/posthaste-drain.service"
    systemctl daemon-reload
    systemctl enable --now posthaste-drain.service
}

main() {
    export DEBIAN_FRONTEND=noninteractive
    apt_install awscli ca-certificates curl nftables
    INSTANCE=$(metadata instance-id)
    trap 'signal FAILURE' EXIT
    mount_ledger
    aws s3 cp --only-show-errors --region "$REGION" "$PACKAGE" /var/tmp/posthaste.deb
    # Before the package, which starts its unit at once.
    configure
    open_the_metadata_service /var/tmp/posthaste.deb
    apt_install /var/tmp/posthaste.deb
    # Whether the role may do what a daemon does with queues and tables, one line each.
    POSTHASTE_DATA_DIR=/var/lib/posthaste \
        posthaste check --env --config "$ROOT/etc/posthaste/posthaste.toml"
    watch_for_the_end
    systemctl enable posthaste.service
    # Returns when the daemon has said that it is ready, and says so if it did not start before.
    systemctl start posthaste.service
    trap - EXIT
    signal SUCCESS
}

main
