"""Delimited text: separators, quoting, headers and encodings are found, or asked about."""

import csv
import io

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import Reading
from polymine.reading.columns import take_columns
from polymine.reading.files import read_file
from polymine.reading.roles import CANDIDATES, CORPUS, JUDGMENTS, PAIRS, Role
from polymine.reading.understood import Table


@pytest.fixture
def read(tmp_path):
    def read_text(text: str | bytes, name: str = "x.csv", role: Role = PAIRS, **said) -> Table:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_file(path, name, role, Reading(**said))

    return read_text


def rows(table: Table) -> list[tuple[str | None, ...]]:
    return table.rows.rows()


class TestSeparators:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
    def test_found_by_what_it_yields(self, read, separator, name):
        lines = ["query#positive", "a, or b?#it; is | so", "c?#d, e"]
        text = "\n".join(lines).replace(separator, "_").replace("#", separator) + "\n"
        table = read(text, name)
        assert table.rows.columns == ["query", "positive"]
        assert (table.rows.height, table.understood.separator) == (2, separator)

    def test_excel_names_it_in_a_line_of_its_own_and_ends_lines_with_empty_cells(self, read):
        table = read('\ufeffsep=;\r\nquery;positive\r\n"a;?";x;;\r\nb?;y\r\n')
        assert rows(table) == [("a;?", "x"), ("b?", "y")]
        assert (table.understood.rows, table.understood.lines) == (2, 2)

    def test_the_settings_win(self, read):
        table = read("query|positive,x\na|b,c\n", separator="|")
        assert table.rows.columns == ["query", "positive,x"]


class TestQuoting:
    def test_single_marks_around_each_cell_are_asked_about(self, read):
        lines = "query,positive\n'what, then','that'\n'how','so'\n'why','because'\n"
        table = read(lines, quoting=False)
        assert table.broken.height == 1  # the comma that they did not protect
        first, _ = take_columns(table, PAIRS, Reading()).problems
        assert "`query` holds texts in single quotation marks, as 'how'" in first
        one = read("query,positive\n'tis so,that\nhow,so\n")
        assert take_columns(one, PAIRS, Reading()).problems == ()

    def test_a_table_of_markdown_is_none_of_csv(self, read):
        with pytest.raises(InputError, match="is a table of Markdown"):
            read("| query | positive |\n|---|:--|\n| a | b |\n", "x.csv")

    def test_a_line_of_tsv_is_a_record_whatever_it_begins_with(self, read):
        table = read('query\tpassage\n"the office\tx\nb\ty"\n"moby dick\tz\n', "x.tsv")
        assert rows(table) == [('"the office', "x"), ("b", 'y"'), ('"moby dick', "z")]
        assert table.understood.quoting is False

    @pytest.mark.parametrize("style", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    def test_tsv_that_shows_its_quoting(self, read, style):
        given = [('say "so", then', "two\nlines"), ("a\tb", "c"), ("d", "e")]
        stream = io.StringIO()
        csv.writer(stream, delimiter="\t", quoting=style).writerows([("query", "passage"), *given])
        assert rows(read(stream.getvalue(), "x.tsv")) == given

    def test_what_polars_writes(self, read, tmp_path):
        given = pl.DataFrame({"query": ['"a" b', "c\nd", None], "passage": ["x\ty", "z, w", "v"]})
        for separator, name in ((",", "w.csv"), ("\t", "w.tsv")):
            text = given.write_csv(separator=separator)
            assert read(text, name).rows.equals(given)

    @pytest.mark.parametrize(
        "fields",
        [('"moby dick"', "x", "b", "y"), ('"a\tb"', "x", '5" pipe', "y"), ('"a"', "x", 'b"', "y")],
    )
    def test_tsv_with_marks_that_may_be_either_is_asked_about(self, read, fields):
        text = "query\tpassage\n{}\t{}\n{}\t{}\nc\td\n".format(*fields)
        if fields[2] == 'b"':  # a mark that encloses nothing: the other is a letter, too
            assert rows(read(text, "x.tsv"))[0] == ('"a"', "x")
            return
        with pytest.raises(InputError, match=r"nothing tells .*`quoting = true` or `false`"):
            read(text, "x.tsv")
        assert rows(read(text, "x.tsv", quoting=True))[0][1] == "x"
        if "\t" not in fields[0]:
            assert rows(read(text, "x.tsv", quoting=False))[0] == (fields[0], "x")

    def test_csv_whose_quotes_are_no_quotes(self, read):
        assert rows(read('query,positive\n"a" b,x\nc,"y\n')) == [('"a" b', "x"), ("c", '"y')]

    @pytest.mark.parametrize("separator", [",", "\t"])
    def test_marks_that_a_backslash_escapes_are_asked_about(self, read, separator):
        text = f'query{separator}positive\n"a?"{separator}"say \\"so\\" now"\n'
        with pytest.raises(InputError, match=r"enclose fields.*doubled.*`quoting = true`"):
            read(text)
        broken = read(text, quoting=True).broken["rules"].to_list()
        assert broken == [["quotation marks do not match"]]

    def test_a_blank_before_a_mark_belongs_to_no_field(self, read):
        assert rows(read('"query", "positive"\n"a", "b, c"\n')) == [("a", "b, c")]

    def test_a_form_feed_ends_no_line(self, read):
        content = 'query,positive\n"a","x\x0cy, z"\n"b","\u2028é, \xe9"\nc,d\n'
        table = read(content.encode("utf-8").replace(b'\xc3\xa9"', b'\xe9"'))
        assert rows(table) == [("a", "x\x0cy, z"), ("c", "d")]
        assert table.broken["rules"].to_list() == [["not UTF-8"]]

    def test_two_ways_to_read_a_file_are_asked_about(self, read):
        text = 'query,positive\n"a,x\nb,y"\nc,z\n'
        with pytest.raises(InputError, match=r"3 records in 4 lines.*`quoting = true` or `false`"):
            read(text)
        assert read(text, quoting=False).rows.height == 3
        assert rows(read(text, quoting=True)) == [("a,x\nb,y", None), ("c", "z")]

    def test_a_record_that_swallows_others_is_set_aside(self, read):
        table = read('query,positive\n"a,x\nb, and,y\n"c,z\nd,"e, f"\n')
        assert rows(table) == [("d", "e, f")]
        assert table.broken["rules"].to_list() == [["quotation marks do not match"]]


class TestHeaders:
    def test_ms_marco_has_none(self, read):
        table = read("0\tThe first passage.\n1\tThe second.\n", "collection.tsv", CORPUS)
        assert table.rows.to_dicts()[0] == {"doc_id": "0", "text": "The first passage."}
        assert table.understood.header is False
        line = "how tall is a giraffe now\tFive metres.\tIt eats leaves.\n"
        triple = read(line, "triples.train.small.tsv")
        assert triple.rows.columns == ["anchor", "positive", "negative"]
        taken = take_columns(triple, PAIRS, Reading()).understood
        assert taken.by_position == ("anchor", "positive", "negative")

    def test_short_texts_below_what_may_be_names_are_asked_about(self, read):
        short = "red car\tauto\nblue bike\trad\nold house\thaus\n"
        with pytest.raises(InputError, match="may be names of columns or data like the others"):
            read(short, "x.tsv")
        assert read(short, "x.tsv", header=False).rows.height == 3
        named = "frage\tantwort\n" + "Was kostet das alles zusammen?\tNichts, es ist geschenkt.\n"
        assert read(named, "x.tsv").rows.columns == ["frage", "antwort"]

    def test_three_columns_that_count_are_a_ranking(self, read):
        ranked = "".join(f"{q} d{q}{n} {n}\n" for q in "ab" for n in (1, 2, 3))
        with pytest.raises(InputError, match=r"is a ranking \(query, document, rank\)"):
            read(ranked, "x.txt", JUDGMENTS)
        graded = "a d1 2\na d2 1\nb d1 1\nb d3 1\n"
        assert read(graded, "x.txt", JUDGMENTS).rows["relevance"].to_list() == list("2111")

    def test_a_third_column_that_may_be_a_note_is_asked_about(self, read):
        table = read("Go now, Tom!\tVa, Tom !\tCC-BY 2.0 (France), tatoeba.org\n", "fra.tsv")
        (problem,) = take_columns(table, PAIRS, Reading()).problems
        assert "third column is, as CC-BY 2.0" in problem
        for said, negatives in (("", None), ("negative", ["CC-BY 2.0 (France), tatoeba.org"])):
            taken = take_columns(table, PAIRS, Reading(columns={"negative": said}))
            assert taken.problems == ()
            assert taken.rows.to_dicts()[0].get("negative") == negatives

    @pytest.mark.parametrize("separator", [" ", "\t"])
    @pytest.mark.parametrize("name", ["qrels.trec", "qrels.txt", "qrels.tsv"])
    def test_trecs_qrels(self, read, separator, name):
        text = "".join(separator.join(("q1", "0", f"d{n}", f"{n}")) + "\n" for n in range(3))
        table = read(text, name, JUDGMENTS)
        assert rows(table) == [("q1", f"d{n}", f"{n}") for n in range(3)]
        assert table.understood.format == "TREC qrels"
        blank = read("my query\td1\t1\n", name, JUDGMENTS)  # by tabs, so that ids may hold blanks
        assert rows(blank) == [("my query", "d1", "1")]

    def test_a_ranking_is_no_judgment_and_the_other_way_round(self, read):
        ranking, judgments = "q1 Q0 d1 1 9.5 bm25\nq1 Q0 d2 2 9.1 bm25\n", "q1 0 d1 1\n"
        with pytest.raises(InputError, match=r"is a ranking.*as `candidates`"):
            read(ranking, "run.trec", JUDGMENTS)
        with pytest.raises(InputError, match="holds judgments"):
            read(judgments, "qrels.trec", CANDIDATES)
        assert rows(read(ranking, "run.trec", CANDIDATES)) == [("q1", "d1"), ("q1", "d2")]
        marco = read("7\t12\t1\n7\t9\t2\n", "run.tsv", CANDIDATES)
        assert (rows(marco), marco.understood.format) == ([("7", "12"), ("7", "9")], "TREC run")

    def test_csv_without_one_is_asked_about(self, read):
        text = "d1,red apples\n2,green pears\n"
        assert read(text, role=CORPUS).rows.columns == ["d1", "red apples"]  # may be names
        with pytest.raises(InputError, match=r"first line is no header.*`header = false`"):
            read(text.split("\n", 1)[1], role=CORPUS)
        assert read(text, role=CORPUS, header=False).rows["doc_id"].to_list() == ["d1", "2"]

    def test_a_header_that_comes_again_is_no_record(self, read):
        table = read("query,positive\na,b\nquery, positive\nc,d\n")
        assert rows(table) == [("a", "b"), ("c", "d")]
        assert table.broken["rules"].to_list() == [["repeats the header, as of files put together"]]


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_a_mark_names_it(self, read, encoding):
        assert rows(read("query,positive\nä?,ö\n".encode(encoding))) == [("ä?", "ö")]

    def test_the_settings_name_it_and_errors_ask_for_it(self, read):
        content = "query,positive\nä?,ö\nb,c\n".encode("cp1252")
        assert rows(read(content, encoding="cp1252")) == [("ä?", "ö"), ("b", "c")]
        table = read(content)
        assert rows(table) == [("b", "c")]
        assert table.broken["rules"].to_list() == [["not UTF-8"]]
        with pytest.raises(InputError, match='encoding = "cp1252"'):
            read("query,positive\n".encode("utf-16-le"))


def test_a_quoted_column_below_a_header_without_quotes_loses_its_quotes(read):
    lines = "".join(f'"how do I {n}?"\t"so, {n}"\n' for n in range(30))
    found = rows(read(f"query\tpositive\n{lines}", "x.tsv"))
    assert found[0] == ("how do I 0?", "so, 0")
    assert len(found) == 30
