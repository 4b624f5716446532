"""Arms for planted_cheap.yaml: FastMTL's ranking by whole proxies, and by cheaper ones."""

from auxlearn.methods.registry import variant

variant("td_bce_layer", "td_bce", "td_bce, proxies of one layer", proxy_layers=1, frozen_layers=0)
variant(
    "td_bce_third", "td_bce", "td_bce, proxies of one layer and a quarter of the rows",
    proxy_layers=1, frozen_layers=0, sample_rows=50,
)  # fmt: skip
