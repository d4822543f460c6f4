#!/bin/bash
# Train on several machines, beyond the time limit of a job:
#   sbatch docs/slurm.sh --config-file configs/AVA/avsf_r101_8x8.yaml
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# To the processes of srun, not to this script, 2 minutes before the end.
#SBATCH --signal=USR1@120

# All GPUs of a machine are visible to each process, which takes the one of its local rank.
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
srun --kill-on-bad-exit=1 --distribution=block --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    python train_net.py --resume "$@"
code=$?
# 138 = 128 + SIGUSR1: a checkpoint is written, and the training is not complete.
if [ "$code" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
