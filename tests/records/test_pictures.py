"""What the report draws: keys as the files have them, and files of before."""

from dalib.core.files import write_json
from dalib.records.content import decoded, encoded, read_list
from dalib.records.pictures import Embedding, MappedDomains, Sample, SamplePrediction, TileSheet


def test_a_prediction_has_its_class_under_the_key_class():
    prediction = SamplePrediction("cat", 0.5)
    assert encoded(prediction) == {"class": "cat", "confidence": 0.5}
    assert decoded(SamplePrediction, {"class": "cat", "confidence": 0.5}) == prediction


def test_samples_are_a_list_whose_later_keys_may_be_missing(tmp_path):
    write_json(tmp_path / "samples.json", [{"file": "0.png"}, {"file": "1.png", "group": "lost", "truth": "cat"}])
    assert read_list(Sample, tmp_path / "samples.json") == (
        Sample("0.png"),
        Sample("1.png", group="lost", truth="cat"),
    )


def test_a_map_without_thumbnails_says_nothing_of_them(tmp_path):
    plain = Embedding("PCA", {"adapted": MappedDomains(((0.0, 1.0, 2),), ((3.0, 4.0, 0),))})
    assert set(plain.to_json()["models"]["adapted"]) == {"source", "target"}
    whole = Embedding(
        "t-SNE", {"adapted": MappedDomains((), ((3.0, 4.0, 0),), (), (7,))}, TileSheet("thumbnails.png", 32, 10)
    )
    for embedding in (plain, whole):
        embedding.write(tmp_path / "embedding.json")
        assert Embedding.read(tmp_path / "embedding.json") == embedding
