#!/usr/bin/env bash
# A Slurm of one node on this machine, from Debian's packages, as root: for tests/comparison/test_slurm.py.
#
#   scripts/slurm_node.sh install        apt-get install slurmd slurmctld slurm-client munge
#   scripts/slurm_node.sh start FOLDER   prints the path of its slurm.conf; export SLURM_CONF=that
#   scripts/slurm_node.sh stop FOLDER
set -euo pipefail

case "${1:-}" in
install)
  command -v slurmctld slurmd sbatch munged >/dev/null && exit 0
  apt() { env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >/dev/null; }
  packages=(slurmd slurmctld slurm-client munge)
  apt install -y --no-install-recommends "${packages[@]}" \
    || { apt update && apt install -y --no-install-recommends "${packages[@]}"; }
  ;;
start)
  folder=$(realpath -m "$2")
  mkdir -p "$folder"/{state,spool,log}
  if ! munge -n >/dev/null 2>&1; then
    mkdir -p /run/munge && chown munge: /run/munge
    runuser -u munge -- /usr/sbin/munged >/dev/null 2>&1 </dev/null
    touch "$folder/munged"
  fi
  free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
  cat >"$folder/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$(free)
SlurmdPort=$(free)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=60 State=UP
CONF
  export SLURM_CONF="$folder/slurm.conf"
  slurmctld -i >/dev/null 2>&1 </dev/null
  slurmd -N localhost >/dev/null 2>&1 </dev/null
  for _ in $(seq 60); do
    if sinfo -h -o %t 2>/dev/null | grep -q idle; then
      echo "$SLURM_CONF"
      exit 0
    fi
    sleep 0.5
  done
  echo "Slurm's node did not come up; see $folder/log" >&2
  exit 1
  ;;
stop)
  folder=$(realpath -m "$2")
  export SLURM_CONF="$folder/slurm.conf"
  scancel --user="$(id -un)" 2>/dev/null || true
  scontrol shutdown 2>/dev/null || true
  for name in slurmd slurmctld; do
    [ ! -f "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
  [ ! -f "$folder/munged" ] || kill "$(cat /run/munge/munged.pid)" 2>/dev/null || true
  ;;
*)
  sed -n '2,6p' "$0" >&2
  exit 2
  ;;
esac
