#!/usr/bin/env bash
# Runs a command on a Slurm cluster of one node that lives as long as the command:
#
#     tests/slurm/one_node.sh [--no-accounting] COMMAND ...
#
# Everything happens in namespaces of its own: processes, network (loopback), host name, /run and /etc/slurm. A Slurm that this
# machine belongs to never hears of it; when the command ends, or is killed, the kernel ends every daemon and forgets every file.
# Needs root, Linux and Debian's packages, which it installs where they are missing; exits 77 with a sentence where it cannot.
set -euo pipefail

PACKAGES=(slurmctld slurmd slurm-client slurmdbd slurm-wlm-mysql-plugin munge mariadb-server iproute2)
HOME_OF_NODE=/run/one_node # on a tmpfs of our own
NODE=pore-node

skip() {
    echo "one_node.sh: skipped, $1" >&2
    exit 77
}

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
    done
}

# Daemons of the packages must not start by themselves while they are installed.
install_packages() {
    local missing forbids=/usr/sbin/policy-rc.d
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get > /dev/null || skip "it needs ${missing[*]}, and there is no apt-get to install them with."
    if [ ! -e $forbids ]; then
        trap "rm -f $forbids" RETURN EXIT
        printf '#!/bin/sh\nexit 101\n' > $forbids
        chmod +x $forbids
    fi
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } \
        > /dev/null 2>&1 || skip "apt-get could not install ${missing[*]}."
}

wait_for() { # seconds, what, command
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until timeout 5 "$@" > /dev/null 2>&1; do
        ((SECONDS < end)) || {
            echo "one_node.sh: $what did not come up; its logs:" >&2
            tail --lines 15 $HOME_OF_NODE/*.log >&2
            exit 1
        }
        sleep 0.2
    done
}

write_slurm_conf() {
    cat > /etc/slurm/slurm.conf << END
ClusterName=pore
SlurmctldHost=$NODE(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$HOME_OF_NODE/ctld
SlurmdSpoolDir=$HOME_OF_NODE/d
SlurmctldPidFile=$HOME_OF_NODE/slurmctld.pid
SlurmdPidFile=$HOME_OF_NODE/slurmd.pid
SlurmctldLogFile=$HOME_OF_NODE/slurmctld.log
SlurmdLogFile=$HOME_OF_NODE/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=5
SchedulerParameters=bf_interval=1
AccountingStorageType=accounting_storage/$1
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=$NODE Default=YES MaxTime=60
PartitionName=gpu Nodes=$NODE MaxTime=60
END
    [ "$1" = none ] || printf 'AccountingStorageTRES=gres/gpu\nAccountingStoreFlags=job_comment\n' >> /etc/slurm/slurm.conf
    echo "Name=gpu File=$HOME_OF_NODE/fakegpu0" > /etc/slurm/gres.conf
}

write_slurmdbd_conf() {
    cat > /etc/slurm/slurmdbd.conf << END
DbdHost=$NODE
DbdAddr=127.0.0.1
SlurmUser=root
PidFile=$HOME_OF_NODE/slurmdbd.pid
LogFile=$HOME_OF_NODE/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=pore
END
    chmod 600 /etc/slurm/slurmdbd.conf
}

start_accounting() {
    mkdir --parents /run/mysqld $HOME_OF_NODE/mysql
    mariadb-install-db --no-defaults --user=root --datadir=$HOME_OF_NODE/mysql --auth-root-authentication-method=normal \
        --skip-test-db > $HOME_OF_NODE/mysql.log 2>&1
    mariadbd --no-defaults --user=root --datadir=$HOME_OF_NODE/mysql --socket=/run/mysqld/mysqld.sock --skip-networking \
        --innodb-flush-log-at-trx-commit=0 >> $HOME_OF_NODE/mysql.log 2>&1 &
    wait_for 30 mariadbd mariadb-admin --no-defaults --socket=/run/mysqld/mysqld.sock ping
    write_slurmdbd_conf
    slurmdbd
    wait_for 30 slurmdbd sacctmgr --immediate add cluster pore
}

# The first process of the namespaces; when it ends, so does everything in them.
inside() {
    local accounting=$1
    shift
    ip link set lo up
    ip address add 192.0.2.1/32 dev lo # Slurm resolves no name on a machine that has 127.0.0.1 alone
    hostname $NODE
    mount -t tmpfs tmpfs /run
    mkdir --parents $HOME_OF_NODE/{etc,ctld,d} /run/munge
    printf '127.0.0.1 localhost %s\n' $NODE > $HOME_OF_NODE/hosts
    mount --bind $HOME_OF_NODE/hosts /etc/hosts
    mount --bind $HOME_OF_NODE/etc /etc/slurm
    mknod $HOME_OF_NODE/fakegpu0 c 1 3
    (umask 077 && head --bytes 128 /dev/urandom > $HOME_OF_NODE/munge.key)
    munged --key-file $HOME_OF_NODE/munge.key --pid-file $HOME_OF_NODE/munged.pid --seed-file $HOME_OF_NODE/munged.seed \
        --log-file $HOME_OF_NODE/munged.log
    write_slurm_conf "$accounting"
    [ "$accounting" = none ] || start_accounting
    slurmctld
    slurmd
    wait_for 30 "the node" bash -c 'sinfo --noheader --format %T | grep --quiet idle'
    local code=0
    PORE_SLURM=$accounting "$@" || code=$?
    exit $code
}

main() {
    local accounting=slurmdbd
    [ "${1-}" = --no-accounting ] && accounting=none && shift
    [ "$(uname)" = Linux ] || skip "it needs Linux."
    [ "$(id --user)" = 0 ] || skip "it needs root."
    unshare --mount --pid --fork --net --uts true 2> /dev/null || skip "this machine allows no namespaces."
    install_packages
    exec unshare --mount --propagation private --pid --fork --mount-proc --kill-child --net --uts \
        "$BASH" "$0" --inside "$accounting" "$@"
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
else
    main "$@"
fi
