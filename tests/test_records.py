"""A model of records reads, scores, codes and draws each record as if it were alone."""

import collections
import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlm
from rnnlm.commands import main
from rnnlm.errors import UserError
from rnnlm.evaluation.dynamic import Adaptation
from rnnlm.generation.records import LIMIT, RecordSampler, find_records
from rnnlm.generation.sampler import SamplingOptions
from tests.conftest import rows, tiny

STILL = {method: Adaptation(method, 7, 0.0, 0.0) for method in ("rms", "sgd")}


def make_records(size: int) -> bytes:
    """Make a text of short records that end with a semicolon; some have a line break."""
    rng = random.Random(1)
    out = bytearray()
    while len(out) < size:
        out += bytes(rng.choices(b"abc\n", (6, 3, 2, 1), k=rng.randint(0, 4))) + b";"
    return bytes(out[: size - 1]) + b";"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "records.txt"
    path.write_bytes(make_records(4000))
    return path


@pytest.fixture(scope="module")
def lm(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("records") / "run"
    config = tiny(data__files=str(text), data__separator=";", train__steps=60, eval__every=60)
    rnnlm.train(config, folder, show=False)
    return rnnlm.load(folder)


def nats(lm, text: str) -> float:
    return lm.score(text=text).tally.nats


def command(*args) -> int:
    return main.main([*map(str, args), "--cpu_devices=1"])


def test_validation_and_scores_read_records(lm, capsys):
    (row,) = [row for row in rows(lm.workdir) if "valid_protocol" in row]
    assert row["valid_protocol"].startswith("records after ';', ")
    protocol = rnnlm.EvalProtocol("records", warmup=16, separator=";")
    assert lm.score("test") == lm.score("test", protocol=protocol)
    assert command("eval", f"--workdir={lm.workdir}", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["nats"] == lm.score("test").tally.nats and "records after ';'" in line["protocol"]
    assert rnnlm.compare([lm.workdir])[0]["bpc"] == line["bpc"]
    assert command("eval", f"--workdir={lm.workdir}", "--json", "--protocol=records", r"--separator=\x3b") == 0
    assert json.loads(capsys.readouterr().out) == line
    assert command("eval", f"--workdir={lm.workdir}", "--json", "--protocol=carry", "--lanes=1") == 0
    assert json.loads(capsys.readouterr().out)["nats"] != pytest.approx(line["nats"], rel=1e-3)


def test_records_cost_what_each_costs_alone(lm):
    records = ["ab;", "c\na;", ";", "a;"]
    assert nats(lm, "".join(records)) == pytest.approx(sum(nats(lm, record) for record in records), rel=1e-5)
    assert nats(lm, "ab;ab;") == pytest.approx(2 * nats(lm, "ab;"), rel=1e-5)
    assert lm.bpc("ab;c;") * 5 * math.log(2) == pytest.approx(nats(lm, "ab;") + nats(lm, "c;"), rel=1e-5)


def test_steps_states_and_coding_forget_at_the_separator(lm):
    text = lm.dataset.corpus.path.read_bytes()[:300]
    lm.reset()
    x, y = lm.vocabulary.encode(b";" + text[:-1]), lm.vocabulary.encode(text)
    stepped = -sum(float(lm.step(before)[symbol]) for before, symbol in zip(x, y, strict=True))
    assert stepped == pytest.approx(lm.score(text=text).tally.nats, rel=1e-5)
    packed = lm.compress(text)
    assert lm.decompress(packed) == text and packed.tally.nats == pytest.approx(stepped, rel=1e-4)
    learning = lm.compress(text, Adaptation("rms", 7, 1e-3, 1e-3))
    assert lm.decompress(learning) == text
    scored = lm.score(text=text, dynamic=Adaptation("rms", 7, 1e-3, 1e-3)).tally.nats
    assert learning.tally.nats == pytest.approx(scored, rel=1e-3) and scored != pytest.approx(stepped, rel=1e-3)
    (after, alone) = (list(lm.states(t))[-1].carry[0]["h"][-1] for t in ("abca;ab", ";ab"))
    np.testing.assert_allclose(after, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", STILL)
def test_dynamic_evaluation_that_learns_nothing_is_static(lm, method):
    score = lm.score("test", dynamic=STILL[method])
    assert score.tally.nats == pytest.approx(lm.score("test").tally.nats, rel=1e-5)
    assert score.protocol.as_fields()["separator"] == ";" and "separator" not in score.protocol.as_fields()["dynamic"]
    assert score.sentence.endswith("records after ';'")


def test_dynamic_evaluation_takes_no_other_separator(lm, capsys):
    flags = ["--dynamic=sgd", "--learning_rate=0", "--decay=0", r"--separator=\n"]
    assert command("eval", f"--workdir={lm.workdir}", *flags) == 2
    assert "--separator is not for --protocol=carry" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["", "a"])
def test_records_are_drawn_with_their_probability(lm, prompt):
    num = 4000
    drawn = lm.records(num, prompt=prompt, seed=5)
    assert drawn.drawn == num == len(drawn.texts) and drawn.cut == 0
    counts = collections.Counter(drawn.texts)
    before = nats(lm, prompt) if prompt else 0.0
    for record, count in counts.most_common(8):
        p = math.exp(before - nats(lm, record + ";"))
        assert record.startswith(prompt) and ";" not in record
        assert abs(count - num * p) < 5 * math.sqrt(num * p * (1 - p)), record


def test_records_do_not_depend_on_how_many_are_drawn(lm):
    many = lm.records(300, seed=2)
    assert lm.records(7, seed=2).raw == many.raw[:7] and lm.records(7, seed=3).raw != many.raw[:7]


def test_a_record_that_does_not_end_is_cut(lm):
    whole, cut = (lm.records(200, length=length, seed=4) for length in (200, 2))
    assert cut.raw == [record[:2] for record in whole.raw]
    assert cut.cut == sum(len(record) >= 2 for record in whole.raw) > 0


def test_novel_records_are_those_that_training_has_not_read(lm):
    train = b"".join(lm.dataset.slice("train").raw()).split(b";")
    novel = lm.records(40, novel=True, seed=1, temperature=1.5)
    among = lm.records(novel.drawn, seed=1, temperature=1.5).raw
    assert novel.raw == [record for record in among if record not in train] and len(novel.raw) == 40 < novel.drawn


def test_drawing_novel_records_ends(lm):
    likeliest = lm.records(1, temperature=0).raw[0]
    sampler = RecordSampler(lm._stepper, lm._inference_params, lm.vocabulary)
    shares = []
    drawn = sampler.draw(3, "", 50, SamplingOptions(0.0), lambda: [likeliest, b";a"], shares.append)
    assert (drawn.raw, drawn.drawn, drawn.cut) == ([], 3 * LIMIT, 0) and shares[-1] == 1


@given(st.data())
def test_records_are_found_however_a_text_is_cut(data):
    separator = data.draw(st.sampled_from(["a", "\0", "é", "。", "😀"]))
    pieces = st.text(st.sampled_from(["a", "b", "\0", "\1", "é", "è", "。", "、", "😀"]), max_size=12)
    parts = data.draw(st.lists(pieces, max_size=8))
    whole = separator.join(parts).encode() + separator.encode() * data.draw(st.integers(0, 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    chunks = [whole[i:j] for i, j in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    in_text = whole.split(separator.encode())
    in_text = in_text if in_text[-1] else in_text[:-1]
    others = data.draw(st.lists(pieces, max_size=5))
    wanted = {piece.encode() for piece in others} | set(data.draw(st.permutations(in_text))[:2])
    wanted = {record for record in wanted if separator.encode() not in record}
    assert find_records(wanted, chunks, separator.encode()) == wanted & set(in_text)


def test_the_command_prints_records_and_what_became_of_them(lm, capsysbinary):
    run = f"--workdir={lm.workdir}"
    assert command("sample", run, "--records=30", "--seed=6", "--length=5", "--temperature=3", "--novel") == 0
    out, err = capsysbinary.readouterr()
    records = lm.records(30, novel=True, seed=6, length=5, temperature=3.0)
    assert out == b"".join(record + b";" for record in records.raw)
    assert err.decode().splitlines() == [
        f"30 of {records.drawn} records drawn are new, the others are in the training split",
        f"{records.cut} of 30 records did not end within --length=5 symbols and are cut there",
    ]
    for args, complaint in (
        (["--novel"], b"--novel leaves out records: add --records=N."),
        (["--records=3", "--num=2"], b"give one of them"),
        (["--records=3", "--prompt=a;"], b"The prompt 'a;' has the separator, where a record ends: leave it out."),
        (["--records=3", "--data=x"], b"only --novel reads"),
        (["--records=0"], b"records"),
    ):
        assert command("sample", run, *args) == 2
        out, err = capsysbinary.readouterr()
        assert complaint in err and not out


def test_a_run_without_records_says_so(tmp_path, text):
    config = tiny(data__files=str(text), train__steps=1, sample__every=0)
    rnnlm.train(config, tmp_path / "run", show=False)
    with pytest.raises(UserError, match=r"no records: train with data\.separator, .*--config\.data\.separator='\\n'"):
        rnnlm.load(tmp_path / "run").records(3)


@pytest.mark.parametrize(
    "separator, complaint",
    [
        (";;", "The separator ';;' has 2 bytes, but exactly one symbol (byte_seen) ends a record"),
        ("|", "The separator '|' is not among the 5 symbols (byte_seen) of the text"),
        ("é", "The separator 'é' has 2 bytes"),
    ],
)
def test_a_separator_is_one_symbol_of_the_text(tmp_path, text, capsys, separator, complaint):
    overrides = [f"--config.data.files={text}", f"--config.data.separator={separator}"]
    assert command("train", "--config=tests/tiny.py", f"--workdir={tmp_path / 'run'}", *overrides) == 2
    assert complaint in capsys.readouterr().err and not (tmp_path / "run").exists()
