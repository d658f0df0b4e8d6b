"""A short version of the benchmark: malformed inputs end in a clear error or in quarantine."""

from robustness.bad_input.__main__ import as_table, run


def test_malformed_inputs_never_end_in_a_traceback_or_a_wrong_row():
    tally = run(inputs=160, seed=7)
    assert set(tally.counts) == {
        "files",
        "columns",
        "values",
        "encodings",
        "settings",
        "dialects",
        "meanings",
        "learning",
    }
    assert tally.defects == [], as_table(tally, 0.0)
