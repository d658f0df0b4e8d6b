"""What settings make of the values people write."""

import pytest
from pydantic import ValidationError

from data_contracts.references import fingerprint
from data_contracts.settings import MiningSettings


class TestLanguages:
    def test_codes_are_compared_as_ingestion_stores_them(self):
        assert MiningSettings(languages=("zh-Hans", "DE")).languages == ("de", "zh-hans")

    def test_order_and_repeats_do_not_make_another_run(self):
        one = MiningSettings(languages=("de", "fr", "de"))
        other = MiningSettings(languages=("fr", "de"))
        assert fingerprint(mining=one) == fingerprint(mining=other)

    def test_an_empty_list_is_refused(self):
        with pytest.raises(ValidationError, match="at least 1"):
            MiningSettings(languages=())
