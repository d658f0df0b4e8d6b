"""Mining, stage by stage, over tables in memory; `polymine.flows.mining` has the order."""
