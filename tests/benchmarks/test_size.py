"""The figures on the code are counted from the code."""

from benchmarks import size


def test_a_circle_is_named_and_otherwise_an_order():
    assert size.circle_or_order({"a": {"b"}, "b": set()}) == ([], ["b", "a"])
    circle, order = size.circle_or_order({"a": {"b"}, "b": {"a"}})
    assert set(circle) == {"a", "b"}
    assert order == []


def test_rooms_stand_on_floors_by_what_they_import():
    floors, _ = size.import_floors()
    assert floors["store"] == 1
    assert floors["engine"] < floors["mining"] < floors["training"]
    assert max(floors.values()) <= 7


def test_lines_of_the_layers_add_up_and_links_are_not_followed():
    head, *rows = size.measure_lines()
    table = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    lines = {name: int(row["lines"].replace(",", "")) for name, row in table.items()}
    layers = ("data_contracts", "polymine", "tasks", "flows", "commands")
    assert sum(lines[name] for name in layers) == lines["**product**"]
    assert not any("polymine/tasks" in str(path) for path in size.files_of("polymine"))


def test_lengths_come_with_names_the_longest_first():
    lengths = size.longest_functions()
    assert lengths == sorted(lengths, reverse=True)
    assert all(":" in name for _, name in lengths[:5])
