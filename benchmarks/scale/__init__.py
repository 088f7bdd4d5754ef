"""What coordination costs: by formula, and by running fleets."""
