#!/usr/bin/env bash
# A whole Slurm on this one machine: munged, MariaDB, slurmdbd, slurmctld, slurmd, with accounting and memory limits.
#
#   slurm.sh start DIR    install what is missing (Debian packages; root), start everything, state and logs in DIR
#   slurm.sh stop DIR     end it all, jobs included
#
# Afterwards SLURM_CONF=DIR/slurm.conf makes the machine's sbatch, sacct and scancel speak to it.
set -euo pipefail
action=${1:?start or stop} dir=$(realpath -m "${2:?a folder}")
export SLURM_CONF="$dir/slurm.conf"

until_it_answers() { # seconds, name of the log, command...
    local end=$((SECONDS + $1)) log=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "slurm.sh: no answer to: $*" >&2; tail -n 20 "$dir/$log" >&2; exit 1; }
        sleep 0.1
    done
}

configure() {
    local host cores memory_mb limits
    host=$(hostname -s) cores=$(getconf _NPROCESSORS_ONLN) memory_mb=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 500))
    # Memory limits by control groups, as clusters have them; else by looking at what processes use.
    if [[ -w /sys/fs/cgroup/memory && -w /sys/fs/cgroup/freezer ]]; then
        limits=$'ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup'
        printf '%s\n' CgroupPlugin=cgroup/v1 CgroupAutomount=yes ConstrainRAMSpace=yes > "$dir/cgroup.conf"
    else
        limits=$'ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill'
    fi
    cat > "$dir/slurm.conf" <<END
ClusterName=hwnas
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$dir/ctld
SlurmdSpoolDir=$dir/d
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
$limits
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass=$dir/munge.socket
KillWait=2
MinJobAge=10
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory_mb State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 State=UP OverSubscribe=NO
END
    cat > "$dir/slurmdbd.conf" <<END
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
PidFile=$dir/slurmdbd.pid
LogFile=$dir/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
END
    chmod 600 "$dir/slurmdbd.conf"
}

case $action in
start)
    mkdir -p "$dir"/{db,ctld,d,munge}
    "$(dirname "${BASH_SOURCE[0]}")/packages.sh" slurmctld slurmdbd mariadbd munged \
        -- slurm-wlm slurmdbd mariadb-server munge
    configure
    head -c 1024 /dev/urandom > "$dir/munge/key" && chmod 600 "$dir/munge/key"
    munged --force --socket="$dir/munge.socket" --key-file="$dir/munge/key" --pid-file="$dir/munge/pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    mariadb-install-db --user=root --datadir="$dir/db" --auth-root-authentication-method=normal >"$dir/db.log" 2>&1
    mariadbd --no-defaults --user=root --datadir="$dir/db" --socket="$dir/db.socket" --pid-file="$dir/db.pid" \
        --skip-networking --innodb-buffer-pool-size=64M >>"$dir/db.log" 2>&1 &
    until_it_answers 30 db.log mariadb-admin --no-defaults --socket="$dir/db.socket" -u root ping
    # The client library of slurmdbd takes the socket from here.
    MYSQL_UNIX_PORT="$dir/db.socket" slurmdbd
    until_it_answers 30 slurmdbd.log sacctmgr -n show cluster
    sacctmgr -i -n add cluster hwnas >/dev/null 2>&1 || true
    slurmctld
    slurmd
    until_it_answers 30 slurmctld.log bash -c 'sinfo -h -o %T | grep -qx idle'
    ;;
stop)
    scancel --user=root --state=pending,running >/dev/null 2>&1 && sleep 1 || true
    for pid in slurmd.pid slurmctld.pid slurmdbd.pid db.pid munge/pid; do
        [[ ! -e $dir/$pid ]] || kill "$(cat "$dir/$pid")" 2>/dev/null || true
    done
    ;;
*)
    echo "slurm.sh: given $action; accepted: start, stop" >&2
    exit 2
    ;;
esac
