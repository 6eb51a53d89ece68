module() { :; }
module load cuda
echo "site of $SLURM_JOB_ID"
export RNNLM_SITE="a b"
prefix=(env "RNNLM_PREFIX=$RNNLM_SITE")
