"""compress takes the values of flags and overrides as words of their own, beside the file."""

from rnnlm.commands.compress import parse_args


def test_values_may_be_words_of_their_own():
    values, path, config = parse_args(
        ["notes.txt", "--online", "--config", "configs/online.py", "--config.model.hidden", "8", "--cpu-devices", "1"]
    )
    assert (path, values.cpu_devices, config.model.hidden) == ("notes.txt", 1, 8)
    values, path, config = parse_args(["--dynamic", "--learning-rate", "1e-3", "notes.txt", "--decay=0", "--noverify"])
    assert (path, values.learning_rate, values.decay, values.verify, config) == ("notes.txt", 1e-3, 0.0, False, None)
