#!/usr/bin/env bash
# sbatch --nodes 2 configs/launch/slurm.sh CONFIG [--set KEY=VALUE ...]
# One torchrun a machine; they meet at the first. The output folder has to be on a file system that all of them see.
# A job that is requeued goes on from its last checkpoint.
#SBATCH --job-name=self1e
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / SLURM_GPUS_ON_NODE))
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:29500" \
  -m self1e train "$@"
