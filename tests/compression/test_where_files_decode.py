"""A file decodes on any number of cores, and the error says what it needs where it does not decode."""

import shutil

import jax
import pytest

from rnnlm import language_model
from rnnlm.commands import main
from rnnlm.compression import codec, container, predictors
from rnnlm.compression.codec import Codec
from rnnlm.compression.container import CompressedFile
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.nn import model
from rnnlm.runtime import cpus, devices
from tests.conftest import ROOT, make_text, rnnlm, tiny

FIXTURES = ROOT / "tests" / "fixtures"
LSTM = FIXTURES / "lstm_4_layers"


@pytest.fixture
def folder(tmp_path):
    """A copy of a run folder of an older version, with a text of 400 bytes."""
    shutil.copytree(LSTM, tmp_path / "run")
    (tmp_path / "text").write_bytes(make_text(400))
    return tmp_path


def test_a_file_is_decoded_with_the_encoders_number_of_threads(folder):
    """XLA splits long sums by the number of its threads, so the decoder starts as many as the encoder had."""
    text, packed, again = folder / "text", folder / "text.rnz", folder / "again"
    online = "--online", "--config=tests/tiny.py", "--config.model.hidden=64", "--segment=10", "--lanes=16"
    printed = rnnlm("compress", text, *online, env={devices.XLA_THREADS: "8"})
    assert "any number of cores" in printed
    assert CompressedFile.from_bytes(packed.read_bytes(), "packed").threads == 8
    rnnlm("decompress", packed, f"-o={again}")
    assert again.read_bytes() == text.read_bytes()


def test_where_jax_has_started_with_other_threads_the_error_says_what_to_do():
    with pytest.raises(UserError, match=r"threads=8, .* threads=2 here: .* rnnlm\.configure\(threads=8\)"):
        codec.refuse_difference({"jax": 3, "cores": 8}, {"jax": 3, "cores": 2}, "x.rnz")
    with pytest.raises(UserError, match=r"jax was 2, here 3; cores was 8, here 2"):
        codec.refuse_difference({"jax": 2, "cores": 8}, {"jax": 3, "cores": 2}, "x.rnz")


def test_the_threads_are_the_cores_unless_configured(monkeypatch):
    for name in (devices.XLA_THREADS, "NPROC"):
        monkeypatch.delenv(name, raising=False)
    assert devices.product_threads() == max(len(cpus.cores()), jax.local_device_count())
    monkeypatch.setenv("NPROC", "7")
    assert devices.product_threads() == 7
    monkeypatch.setenv(devices.XLA_THREADS, "9")
    assert devices.product_threads() == codec.fingerprint()["cores"] == 9


def test_another_run_is_called_another_model():
    coded = (LSTM / "head.static.rnz").read_bytes()
    with pytest.raises(
        UserError, match=r"another model than .*gru_one_hot has: .* 25cdab6db4e6 of step 1500, .* 300\."
    ):
        language_model.decompress(coded, FIXTURES / "gru_one_hot", name="head.static.rnz")
    ours = {"params": "11", "jax": 3}
    with pytest.raises(UserError, match="another model than that of runs/x at step 9: params was 00, here 11"):
        codec.refuse_difference({"params": "00", "step": 9, "jax": 2}, ours, "x.rnz", "runs/x")


def test_files_without_a_version_of_the_numerics_are_of_version_1(monkeypatch):
    theirs, ours = {"jax": 3}, {"jax": 3, "numerics": codec.fingerprint()["numerics"]}
    codec.refuse_difference(theirs, ours, "x.rnz")
    assert codec.NUMERICS == 1, "Keep this test, with the error that files of version 1 are refused now."
    monkeypatch.setattr(codec, "NUMERICS", 2)
    with pytest.raises(UserError, match="numerics was 1, here 2"):
        codec.refuse_difference(theirs, {"jax": 3, "numerics": codec.fingerprint()["numerics"]}, "x.rnz")


def test_an_edited_cell_is_named_as_a_possible_cause():
    config, vocabulary = tiny(model__hidden=12).model, Vocabulary("byte", tuple(range(256)))

    def make(seed):
        return predictors.make_static_predictor(config, 256, model.init_params(config, 256, jax.random.PRNGKey(seed)))

    header = {"fingerprint": {}}
    file = CompressedFile.from_bytes(Codec(header, vocabulary, lambda: make(0)).compress(make_text(300)), "x.rnz")
    for cell, said in (("their_cells:Mine", True), ("lstm", False)):
        with pytest.raises(UserError, match="x.rnz does not decode") as raised:
            Codec(header, vocabulary, lambda: make(1), cell).decompress(file, "x.rnz")
        assert ("the code of its cell, their_cells:Mine, has been edited" in str(raised.value)) == said


@pytest.mark.parametrize("threads", [-1, "2", 10**6, 1.0, None])
def test_a_number_of_threads_that_no_encoder_writes_is_refused(threads):
    header = {"bytes": 0, "crc": 0, "symbols": 0, "lanes": 1, "side": 0, "fingerprint": {"cores": threads}}
    with pytest.raises((TypeError, ValueError), match="threads"):
        CompressedFile(header, b"", b"").check()
    CompressedFile(header | {"fingerprint": {"cores": container.MAX_THREADS}}, b"", b"").check()


def test_an_existing_file_is_kept_unless_forced(folder, capsys):
    text, packed, again = folder / "text", folder / "text.rnz", folder / "again"
    packed.write_bytes(b"precious")
    command = "compress", str(text), f"--workdir={folder / 'run'}", "--cpu_devices=1"
    assert main.main([*command]) == 2 and "exists, and is kept: give --force" in capsys.readouterr().err
    assert packed.read_bytes() == b"precious"
    assert main.main([*command, "--force"]) == 0 and packed.read_bytes()[:4] == container.MAGIC
    assert max(map(len, capsys.readouterr().out.splitlines()[3:])) <= 80
    back = "decompress", str(packed), f"--workdir={folder / 'run'}", "--cpu_devices=1"
    again.write_bytes(b"precious")
    assert main.main([*back, f"-o={again}"]) == 2 and again.read_bytes() == b"precious"
    assert main.main([*back]) == 2 and "/text exists" in capsys.readouterr().err
    assert main.main([*back, f"-o={again}", "--force"]) == 0 and again.read_bytes() == text.read_bytes()


@pytest.mark.parametrize(
    "verb, usage", [("compress", "rnnlm compress FILE "), ("decompress", "rnnlm decompress FILE.rnz ")]
)
def test_help_begins_with_the_usage(verb, usage, capsys):
    with pytest.raises(SystemExit):
        main.main([verb, "--help"])
    assert capsys.readouterr().out.startswith(usage)
