"""Prices: what each call cost in US dollars, by a dated table of prices that your own CSV extends."""
