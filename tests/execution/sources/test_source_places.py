"""Every format from every kind of place, against real servers."""

import numpy as np
import pytest
from tables import encoded, frame, npz, people, same

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.execution.formats import tensors

FILES = encoded(people())


@pytest.mark.parametrize("end", FILES)
def test_a_table_comes_back_as_it_was_written(place, opened, end):
    source = opened(place.put(f"tables/people{end}", FILES[end]))
    assert source.kind == place.scheme
    same(frame(source), people())
    assert source.schema().names == ["age", "income", "owns", "town"]
    assert [str(kind) for kind in source.schema().types] == ["int64", "double", "bool", "string"]
    same(frame(source, rows=7), people())  # as often as needed, in batches of any size
    assert max(len(batch) for batch in source.batches(rows=7)) == 7
    assert frame(source, ["town", "age"]).columns.tolist() == ["town", "age"]


def test_arrays_come_back_as_they_were_written(place, opened):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4, 5)).astype("float32"), rng.integers(0, 3, 30)
    source = opened(place.put("arrays/a.npz", npz(x=x, y=y)))
    batches = list(source.batches(rows=8))
    np.testing.assert_array_equal(np.concatenate([tensors.to_numpy(batch.column("x")) for batch in batches]), x)
    np.testing.assert_array_equal(np.concatenate([tensors.to_numpy(batch.column("y")) for batch in batches]), y)


def test_the_stamp_changes_when_the_data_do(place, opened):
    source = opened(place.put("changing/t.csv", b"a,b\n1,2\n"))
    before = source.stamp()
    assert source.stamp() == before
    assert len(frame(source)) == 1
    place.put("changing/t.csv", b"a,b\n1,2\n3,4\n")
    assert source.stamp() != before
    assert len(frame(source)) == 2


def test_a_column_that_is_not_there_is_named(place, opened):
    source = opened(place.put("tables/people.csv", FILES[".csv"]))
    with pytest.raises(InvalidInput, match=r"'wage'.*age, income") as error:
        frame(source, ["wage"])
    assert error.value.code == "unknown-column"


def test_what_is_not_there_cannot_be_read(place, opened):
    url = place.put("tables/people.csv", FILES[".csv"]).replace("people", "nobody")
    with pytest.raises(InvalidInput, match=r"nobody\.csv") as error:
        opened(url).stamp()
    assert error.value.code == "unreadable-data"
    with pytest.raises(InvalidInput) as error:
        opened(url).schema()
    assert error.value.code == "unreadable-data"


def test_a_folder_or_pattern_is_one_table(place, opened):
    if place.folder is None:
        pytest.skip("web servers have no folders")
    for number in range(3):
        part = people(seed=number)
        for end, data in encoded(part).items():
            place.put(f"parts/{number}{end}", data)
        place.put(f"only/part-{number}.parquet", encoded(part)[".parquet"])
    place.put("only/_SUCCESS", b"")
    for url in (f"{place.folder}/only", f"{place.folder}/only/", f"{place.folder}/parts/*.parquet"):
        source = opened(url)
        assert len(frame(source)) == 600
        same(frame(source)[200:400].reset_index(drop=True), people(seed=1))
    assert len(frame(opened(f"{place.folder}/parts", format="csv"))) == 1200  # .csv and .csv.gz
    assert len(frame(opened(f"{place.folder}/parts/[01].jsonl"))) == 400
    with pytest.raises(InvalidInput, match="several formats"):
        opened(f"{place.folder}/parts").schema()
    before = opened(f"{place.folder}/only").stamp()
    place.put("only/part-3.parquet", FILES[".parquet"])
    assert opened(f"{place.folder}/only").stamp() != before


def test_images_in_folders(place, opened, image):
    if place.folder is None:
        pytest.skip("web servers have no folders")
    for label, shade in (("cat", 10), ("dog", 200)):
        for number in range(3):
            place.put(f"images/{label}/{number}.png", image((8, 6), shade + number))
    source = opened(f"{place.folder}/images")
    batch = next(source.batches())
    pixels = tensors.to_numpy(batch.column("x"))
    assert pixels.shape == (6, 6, 8, 1)
    assert pixels[:, 0, 0, 0].tolist() == [10, 11, 12, 200, 201, 202]
    assert batch.column("y").to_pylist() == [0, 0, 0, 1, 1, 1]
    assert source.schema().field("y").metadata == {b"classes": b'["cat", "dog"]'}
    sized = tensors.to_numpy(next(opened(f"{place.folder}/images", format="images:4x4").batches()).column("x"))
    assert sized.shape == (6, 4, 4, 1)


def test_addresses_that_carry_credentials_are_refused_and_not_repeated(place, opened):
    if place.scheme == "file":
        pytest.skip("paths carry none")
    url = place.put("tables/people.csv", FILES[".csv"])
    secret = "hunter2hunter2"
    for bad in (
        url.replace("://", f"://olga:{secret}@", 1),
        f"{url}?X-Amz-Signature={secret}&X-Amz-Credential=a",
        f"{url}?sv=2024&sig={secret}",
        f"{url}?token={secret}",
        f"{url}#access_token={secret}",
    ):
        with pytest.raises(InvalidInput) as error:
            opened(bad)
        assert error.value.code == "credentials-in-url"
        assert secret not in str(error.value)
        assert "flaas secret set" in error.value.hint
