module() { :; }
module load cuda
echo "the site's lines of job $SLURM_JOB_ID"
export RNNLM_SITE="a b"
prefix=(env "RNNLM_PREFIX=$RNNLM_SITE")
