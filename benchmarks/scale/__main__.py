"""What coordination costs, and how fast a fleet converges: writes docs/scale.md. Deterministic; no network.

    python -m benchmarks.scale > docs/scale.md
    python -m benchmarks.scale --plan                how long a worker plans, at 10,000 shards and 500 workers

Fleets of real coordinators, hearts and leases run in virtual time on the table in memory, whose requests are
counted in DynamoDB's units; what is too large to run is calculated by the formulas printed with the tables.
"""

from __future__ import annotations

import argparse

from benchmarks.scale.costs import Prices
from benchmarks.scale.page import page
from benchmarks.scale.planning import timings


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description="Print docs/scale.md.")
    parser.add_argument("--write-price", type=float, default=0.625, help="US$ per million write request units")
    parser.add_argument("--read-price", type=float, default=0.125, help="US$ per million read request units")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--date", default="since November 2024")
    parser.add_argument("--plan", action="store_true", help="measure plan() instead, at 10,000 shards and 500 workers")
    args = parser.parse_args()
    if args.plan:
        print("\n".join(timings()))
        return
    prices = Prices(write=args.write_price, read=args.read_price)
    print(page(prices, region=args.region, date=args.date), end="")


if __name__ == "__main__":
    main()
