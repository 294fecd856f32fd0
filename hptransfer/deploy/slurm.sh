#!/bin/bash
# One command on a Ray cluster that lives as long as the job:
#   sbatch slurm.sh python -m hptransfer.search --experiment mine.yaml --store /shared/runs
# The store is on a file system that all nodes see, or an object store. A job that ended early goes on from it when
# submitted again; --requeue lets Slurm do so after a node failed.
#SBATCH --job-name=hptransfer
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --requeue
# For GPUs: #SBATCH --gpus-per-node=8

# Not `ray symmetric-run` (Ray 2.60): it ends with `ray stop`, which stops every Ray of the user on the node, refuses to start
# where another Ray runs, gives other nodes 30 seconds, and ends with 0 where the head did not start.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: sbatch slurm.sh COMMAND..." >&2; exit 2; }

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_node=${nodes[0]}
on_all=(srun --nodes="${#nodes[@]}" --ntasks="${#nodes[@]}")
on_head=(srun --nodes=1 --ntasks=1 --nodelist="$head_node")
head_ip=$("${on_head[@]}" hostname --all-ip-addresses | cut -d ' ' -f 1)
port=$((20000 + SLURM_JOB_ID % 20000)) # jobs that share a node do not meet

export RAY_ADDRESS="$head_ip:$port"
# Whoever reaches the nodes reaches Ray: only this job knows its token.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it from the job since Slurm 22.05

# Ray opens its folder to all: it lies in one that is this user's alone, and goes with the job.
private="/tmp/ray-$SLURM_JOB_ID"
"${on_all[@]}" bash -c "rm -rf '$private' && mkdir -m 700 '$private'"

node=(--block --num-cpus="$SRUN_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
"${on_head[@]}" ray start --head --node-ip-address="$head_ip" --port="$port" --include-dashboard=false \
  --temp-dir="$private/ray" "${node[@]}" &
steps=($!)
trap 'kill "${steps[@]}" 2>/dev/null || true; wait; "${on_all[@]}" rm -rf "$private" || true' EXIT

until ray status > /dev/null 2>&1; do
  kill -0 "${steps[0]}" 2> /dev/null || { echo "no Ray on $head_node: its output is above" >&2; exit 1; }
  sleep 1
done
workers=$((${#nodes[@]} - 1))
if [ "$workers" -gt 0 ]; then
  srun --nodes="$workers" --ntasks="$workers" --exclude="$head_node" ray start --address="$RAY_ADDRESS" "${node[@]}" &
  steps+=($!)
fi
# The command sees the nodes that are there when it starts: wait for all of them.
python - "${#nodes[@]}" << 'PYTHON'
import sys, time
import ray

ray.init(logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 600
while (alive := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[1]):
    if time.monotonic() > deadline:
        sys.exit(f"{alive} of {sys.argv[1]} nodes joined in ten minutes")
    time.sleep(1)
PYTHON

"$@"
