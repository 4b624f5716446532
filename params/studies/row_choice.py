"""Arms for planted_rows.yaml: scores with other options than their defaults."""

from auxlearn.methods.registry import variant

variant("dsir_words", "dsir", "dsir for few target rows: weights per word, the highest", per_word=True, resample=False)
variant("graddot_turns", "graddot", "graddot, target rows taking turns", rule="round_robin")
variant("less_turns", "less", "less, target rows taking turns", rule="round_robin")
