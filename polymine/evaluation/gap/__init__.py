"""How far apart the same meaning lies in different languages: measures over parallel texts.

Each module is one measure: from texts and their unit vectors to `GapCases`, a value per group or
query. `scores` makes means and intervals of them, whatever the measure.
"""
