"""Arms for planted_frozen.yaml: FastMTL's ranking by proxies whose lower layers stay as they are, and by few rows."""

from auxlearn.methods.registry import variant

variant("td_bce_frozen", "td_bce", "td_bce, proxies above a frozen first layer", frozen_layers=1, proxy_layers=0)
variant("td_bce_few", "td_bce", "td_bce, proxies of a quarter of the rows", sample_rows=50, proxy_layers=0)
