"""Notice a model that costs more than the uniform distribution, which knows nothing of the text."""

from rnnlm.evaluation.tally import uniform_bpc

LASTING = (20, 500)
"""Steps in a row, after the warm-up, for which a training must be worse than uniform to be reported."""


class DivergenceWatch:
    """Compare the bpc of a training with that of the uniform distribution over `vocab` symbols.

    Steps of the warm-up, up to `warmup`, do not count.
    """

    def __init__(self, vocab: int, warmup: int):
        self.uniform, self.warmup = uniform_bpc(vocab), warmup
        self._steps = 0

    def read(self, step: int, bpc: float) -> str | None:
        """Read the training bpc of the next step; return a warning once it has been worse for LASTING steps."""
        worse = step > self.warmup and bpc > self.uniform
        self._steps = self._steps + 1 if worse else 0
        if self._steps not in LASTING:
            return None
        return f"step {step}  {bpc:.4g} bpc: for {self._steps} steps {self._diverged}"

    def verdict(self, step: int, train_bpc: float | None, valid_bpc: float | None) -> str | None:
        """Return a warning of what a training has come to at its last step; None if it is better than uniform."""
        bpc = train_bpc if valid_bpc is None else valid_bpc
        if bpc is None or bpc <= self.uniform or step < self.warmup + LASTING[0]:
            return None
        if train_bpc is not None and train_bpc <= self.uniform:
            return (
                f"worse than uniform ({self.uniform:.2f} bpc), though not in training: the model overfits, or has "
                "fallen into a state that it does not leave; raise train.drop_state or model.dropout"
            )
        return self._diverged

    @property
    def _diverged(self) -> str:
        return f"worse than uniform ({self.uniform:.2f} bpc): the run has probably diverged; lower optim.learning_rate"
